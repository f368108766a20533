// Small pieces: elements (text only ever as text), times, lists that draw what is in sight.
const el = (tag, attributes, ...children) => {
  const svg = ["svg", "line", "path", "rect", "text", "g", "polyline", "circle", "title", "marker", "defs"].includes(tag) && attributes && attributes.svg;
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "svg" || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name === "cls" ? "class" : name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
};
const s = (tag, attributes, ...children) => el(tag, {...attributes, svg: true}, ...children);

const Parts = (() => {
  const time = (ns) => {
    const ms = ns / 1e6;
    return Math.abs(ms) < 1000 ? ms.toFixed(1) + " ms" : (ms / 1000).toFixed(3) + " s";
  };
  const WORDS = {S: "SYN", F: "FIN", R: "RST", P: "PSH", A: "ACK", U: "URG", E: "ECE", C: "CWR"};
  const flags = (text) => [...text].map((letter) => WORDS[letter] || letter).join("-") || "no flags";
  const near = (relative, absolute) => (relative !== undefined && relative < 2 ** 31 ? relative : absolute);

  function segment(packet) {
    const parts = [], length = packet.len || 0, seq = near(packet.rseq, packet.seq);
    if (length || /[SFR]/.test(packet.flags)) parts.push(length ? "seq " + seq + ":" + (seq + length) : "seq " + seq);
    if (packet.flags.includes("A")) parts.push("ack " + near(packet.rack, packet.ack));
    parts.push(packet.wnd === undefined ? "win " + packet.win : "wnd " + packet.wnd);
    if (length) parts.push("len " + length);
    return parts.join("  ");
  }
  const {titles} = Data.read("page");
  const title = (proto) => titles[proto] || proto.toUpperCase();
  const packet = (one, line) => {
    if (!one) return "";
    if (one.flags !== undefined) {
      const wire = one.win === undefined ? "seq " + one.seq + (one.ack === undefined ? "" : " ack " + one.ack) + " len " + (one.len || 0)
        : segment(one);
      return flags(one.flags) + "  " + wire;
    }
    const end = (side, port) => (one[side] || "") + (one[port] === undefined ? "" : ":" + one[port]);
    return one.proto ? title(one.proto) + "  " + end("src", "sport") + " > " + end("dst", "dport") + (line ? "  " + line : "") : "";
  };
  // The error that a function is about to send, as kernlab/decode/protocols says it.
  const sends = (event) => {
    const e = event.error;
    if (!e) return "";
    const code = e.icmp_code_name || (e.icmp_code ? "code " + e.icmp_code : "");
    return ["sends", title(e.proto), e.icmp_name || "type " + e.icmp_type, code].filter(Boolean).join(" ");
  };

  // A list of any length: ``heights`` of its items, ``draw`` makes one. In print, the first 400.
  function list(box, items, height, draw, label) {
    const tops = new Float64Array(items.length + 1);
    items.forEach((item, at) => { tops[at + 1] = tops[at] + height(item); });
    const inner = el("div", {cls: "inner", style: "height:" + tops[items.length] + "px"});
    box.replaceChildren(inner);
    box.classList.add("list");
    const drawn = new Map();
    let cursor = -1;
    const find = (y) => {
      let low = 0, high = items.length;
      while (low < high) { const middle = (low + high) >> 1; if (tops[middle + 1] <= y) low = middle + 1; else high = middle; }
      return low;
    };
    function show(from, to) {
      for (const [at, element] of drawn) if ((at < from || at >= to) && at !== cursor) { element.remove(); drawn.delete(at); }
      for (let at = from; at < to; at++) {
        if (drawn.has(at)) continue;
        const element = draw(items[at], at);
        element.style.top = tops[at] + "px";
        element.style.height = tops[at + 1] - tops[at] + "px";
        element.dataset.at = at;
        element.tabIndex = -1;  // the list is one stop of the Tab key, arrows go through it
        drawn.set(at, element);
        const after = [...drawn.keys()].filter((other) => other > at).sort((a, b) => a - b)[0];
        inner.insertBefore(element, after === undefined ? null : drawn.get(after));
      }
    }
    const sight = () => {
      const low = find(box.scrollTop - 200), high = find(box.scrollTop + (box.clientHeight || 600) + 200);
      show(low, Math.min(items.length, high + 1));
    };
    let asked = false;
    box.onscroll = () => {
      if (asked) return;
      asked = true;
      requestAnimationFrame(() => { asked = false; sight(); });
    };
    box.onkeydown = (event) => {
      const step = {ArrowDown: 1, ArrowUp: -1, PageDown: 12, PageUp: -12, Home: -items.length, End: items.length}[event.key];
      if (!step || event.target.closest("input,summary")) return;
      event.preventDefault();
      focus(Math.max(0, Math.min(items.length - 1, (cursor < 0 ? (step > 0 ? -1 : 0) : cursor) + step)), Math.sign(step));
    };
    function focus(at, way) {
      while (at >= 0 && at < items.length && items[at].gap) at += way || 1;
      if (at < 0 || at >= items.length) return;
      cursor = at;
      if (tops[at] < box.scrollTop) box.scrollTop = tops[at];
      if (tops[at + 1] > box.scrollTop + box.clientHeight) box.scrollTop = tops[at + 1] - box.clientHeight;
      sight();
      drawn.get(at)?.focus({preventScroll: true});
    }
    box.addEventListener("focusin", (event) => { const row = event.target.closest("[data-at]"); if (row) cursor = Number(row.dataset.at); });
    if (label) box.setAttribute("aria-label", label);
    sight();
    return {sight, print: () => { show(0, Math.min(items.length, 400)); inner.style.height = tops[Math.min(items.length, 400)] + "px"; },
      screen: () => { inner.style.height = tops[items.length] + "px"; sight(); }, focus, back: () => focus(Math.max(0, cursor)), count: items.length};
  }
  return {time, flags, segment, packet, sends, near, list};
})();
