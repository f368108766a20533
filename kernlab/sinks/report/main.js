// The page: one chapter at a time; its diagram, its events, its drawings.
(() => {
  const page = Data.read("page");
  const language = Expr.make(page.fields);
  const lists = [];
  let shown = -1;

  function diagram(section, chapter, number) {
    const box = section.querySelector(".wire"), panel = section.querySelector(".panel");
    if (!chapter.segments.length) {
      section.querySelector(".diagram").hidden = true;
      return {filter() {}};
    }
    const flows = new Map();
    for (const one of chapter.segments) {
      if (!flows.has(one.flow)) {
        const p = one.packet, mine = p.src + ":" + p.sport, other = p.dst + ":" + p.dport;
        flows.set(one.flow, {number: one.flow, client: one.client ? mine : other, server: one.client ? other : mine, count: 0, reset: false});
      }
      const flow = flows.get(one.flow);
      flow.count++;
      flow.reset = flow.reset || one.packet.flags.includes("R");
    }
    const pick = section.querySelector(".flows");
    let chosen = [...flows.values()].find((flow) => flow.reset)?.number ?? flows.keys().next().value;
    if (flows.size <= 8) {
      pick.replaceChildren(...[...flows.values()].map((flow) => el("button", {type: "button", "data-flow": flow.number, cls: flow.reset ? "bad" : "", onclick: () => choose(flow.number)},
        flow.number + "  " + flow.client + " ⇄ " + flow.server + "  · " + flow.count + (flow.reset ? " · RST" : ""))));
    } else {
      const select = el("select", {"aria-label": "connection", onchange: () => choose(Number(select.value))},
        ...[...flows.values()].slice(0, 5000).map((flow) => el("option", {value: flow.number}, flow.number + "  " + flow.client + " ⇄ " + flow.server + "  · " + flow.count + " segments" + (flow.reset ? " · RST" : ""))));
      pick.replaceChildren(select);
    }
    let test = null, list = null;

    const rstOf = (one) => (chapter.byFrame.get(one) || []).find((event) => event.rst && chapter.frames.get(event.frame) === one)?.rst;
    function notes(one) {
      const said = [...one.notes], events = chapter.byFrame.get(one) || [];
      const drop = events.find((event) => event.dropped);
      if (drop) said.push(drop.dropped);
      const refusal = events.find((event) => event.refused !== undefined && chapter.frames.get(event.refused) === one);
      if (refusal) said.push("refused: RST in frame " + refusal.frame);
      const states = [...new Set(events.map((event) => event.sock && event.sock.state).filter(Boolean))];
      if (events.length) said.push(events.length + (events.length === 1 ? " stop" : " stops") + (states.length ? ": " + states.join(", ") : ""));
      return said.join(" · ");
    }
    function options(packet) {
      const o = packet.options || {}, said = [];
      if (packet.flags.includes("S")) for (const name of ["mss", "wscale"]) if (o[name] !== undefined) said.push(name + " " + o[name]);
      if (packet.flags.includes("S") && o.sack_ok) said.push("sackOK");
      if (o.sack) said.push("SACK");
      return said.length ? "  <" + said.join(", ") + ">" : "";
    }
    function row(one) {
      if (one.gap) return el("div", {cls: "row gap"}, el("span", {}, Parts.time(one.gap) + " later"));
      const p = one.packet, rst = rstOf(one), reset = p.flags.includes("R"), note = notes(one);
      const cls = reset ? "bad" : one.again ? "warn" : p.flags.includes("S") ? "good" : p.flags.includes("F") ? "end" : p.len ? "data" : "";
      const label = Parts.flags(p.flags) + "  " + Parts.segment(p) + options(p);
      return el("button", {type: "button", cls: "row seg " + cls + (one.client ? " right" : " left"), "data-frame": one.number, title: label + (note ? "\n" + note : ""),
        "aria-label": (one.client ? "client to server: " : "server to client: ") + label + ". " + note, onclick: () => open(one)},
        el("span", {cls: "time"}, Parts.time(one.at)),
        el("span", {cls: "lane"}, el("span", {cls: "label"}, el("b", {}, Parts.flags(p.flags)), el("span", {}, "  " + Parts.segment(p) + options(p))), el("span", {cls: "arrow"}),
          rst ? el("span", {cls: "verdict"}, rst.cause + "  " + (rst.name || "") + (rst.condition ? ": " + rst.condition : "")) : "",
          note ? el("span", {cls: "note"}, note) : ""));
    }
    const height = (one) => (one.gap ? 26 : 42 + (notes(one) ? 18 : 0) + (rstOf(one) ? 20 : 0));
    function draw() {
      const items = [];
      let previous = null;
      for (const one of chapter.segments) {
        if (one.flow !== chosen) continue;
        if (test && !test(one)) continue;
        if (previous !== null && one.at - previous > 200e6) items.push({gap: one.at - previous});
        previous = one.at;
        items.push(one);
      }
      const flow = flows.get(chosen);
      section.querySelector(".ends").replaceChildren(el("span", {}), el("b", {}, flow.client), el("b", {}, flow.server));
      const seen = Math.min(items.reduce((sum, one) => sum + (sum > 2000 ? 0 : height(one)), 0) + 6, Math.max(320, innerHeight * 0.72));
      box.style.height = seen + "px";
      list = Parts.list(box, items, height, row, "segments of connection " + chosen);
      lists[0] = list;
    }
    function choose(flow) {
      chosen = flow;
      for (const button of pick.querySelectorAll("button")) button.setAttribute("aria-pressed", String(Number(button.dataset.flow) === flow));
      draw();
    }
    function open(one) {
      for (const other of box.querySelectorAll(".seg.chosen")) other.classList.remove("chosen");
      box.querySelector('[data-frame="' + one.number + '"]')?.classList.add("chosen");
      const p = one.packet;
      Journey.show(panel, Parts.flags(p.flags) + "  " + Parts.segment(p), "frame " + one.number + " of the capture" + (one.device ? " on " + one.device : "") + "  " + p.src + ":" + p.sport + " → " + p.dst + ":" + p.dport,
        chapter.byFrame.get(one) || [], chapter, p);
    }
    choose(chosen);
    // What a reader looks for first: the RST, a drop, what was sent again.
    const own = chapter.segments.filter((one) => one.flow === chosen), stops = (one) => chapter.byFrame.get(one) || [];
    const first = own.find(rstOf) || own.find((one) => stops(one).some((event) => event.dropped)) || own.find((one) => one.again && stops(one).length) || own.find((one) => stops(one).length) || own[0];
    if (first) open(first);
    return {filter(parsed) {
      test = parsed && ((one) => parsed(one) === true || (chapter.byFrame.get(one) || []).some((event) => parsed(event) === true));
      draw();
    }};
  }

  function eventList(section, chapter) {
    const box = section.querySelector(".events"), said = section.querySelector(".count"), panel = section.querySelector(".event");
    if (!chapter.events.length) section.querySelector(".eventlist").hidden = true;
    function row(event) {
      const sock = event.sock || {};
      const summary = event.packet && event.packet.src ? [Parts.packet(chapter.relative(event), event.line), Parts.sends(event)].filter(Boolean).join("  ") : sock.sport ? sock.src + ":" + sock.sport + (sock.dport ? " ⇄ " + sock.dst + ":" + sock.dport : "") : Object.entries(event.args || {}).map(([k, v]) => k + "=" + v).join(" ");
      return el("button", {type: "button", cls: "row ev" + (event.rst ? " bad" : ""), "data-seq": event.seq, onclick: () => {
        Journey.show(panel, "#" + event.seq + "  " + (event.probe || ""), event.packet && event.packet.id ? "packet " + event.packet.id + (event.packet.src ? ", all its stops" : "") : "",
          event.packet && event.packet.id ? chapter.byPacket.get(event.packet.id) : [event], chapter, null);
        panel.querySelector('[data-seq="' + event.seq + '"]')?.scrollIntoView({block: "nearest"});
      }}, el("span", {}, String(event.seq)), el("span", {}, event.at === undefined ? "" : Parts.time(event.at)), el("b", {}, event.probe || ""), el("span", {}, (event.packet && event.packet.id) || ""),
        el("span", {}, summary), el("span", {cls: "st"}, sock.state || ""), el("span", {}, "cpu " + event.cpu + (event.task ? " " + event.task.comm + "/" + event.task.pid : "")));
    }
    function draw(parsed) {
      const rows = parsed ? chapter.events.filter((event) => parsed(event) === true) : chapter.events;
      said.textContent = rows.length + " of " + chapter.events.length + " events";
      box.style.height = Math.min(rows.length * 24 + 4, Math.max(240, innerHeight * 0.5)) + "px";
      lists[1] = Parts.list(box, rows, () => 24, row, "events");
    }
    draw(null);
    return {filter: draw};
  }

  // Escape leads from what an arrow or an event opened back to it.
  function escape(panel, number) {
    panel.addEventListener("keydown", (event) => { if (event.key === "Escape") { event.preventDefault(); lists[number]?.back(); } });
  }

  function build(section, number) {
    escape(section.querySelector(".panel"), 0);
    escape(section.querySelector(".event"), 1);
    const chapter = Data.chapter(number);
    const wire = diagram(section, chapter, number), events = eventList(section, chapter);
    const input = section.querySelector(".filter input"), wrong = section.querySelector(".wrong");
    function filter() {
      let parsed = null;
      wrong.textContent = "";
      input.removeAttribute("aria-invalid");
      try { parsed = input.value.trim() ? language.parse(input.value) : null; } catch (error) {
        if (!(error instanceof Expr.Wrong)) throw error;
        wrong.textContent = "column " + error.column + ": " + error.message;
        input.setAttribute("aria-invalid", "true");
        return;
      }
      wire.filter(parsed);
      events.filter(parsed);
    }
    input.addEventListener("input", filter);
    const paths = Drawings.paths(chapter, page.states), machines = section.querySelector(".machines");
    const worth = paths.filter((path) => path.states.length > 1), some = (worth.length ? worth : paths).slice(0, 6);
    if (some.length) machines.replaceChildren(...some.map(Drawings.machine), paths.length > some.length ? el("p", {cls: "dim"}, (paths.length - some.length === 1 ? "1 more socket was seen" : (paths.length - some.length) + " more sockets were seen") + (worth.length ? ", most in one state" : "")) : "");
    else section.querySelector(".states").hidden = true;
    const plots = Drawings.plots(chapter);
    if (plots.length) section.querySelector(".plotted").replaceChildren(...plots);
    else section.querySelector(".plots").hidden = true;
    const picture = section.querySelector(".picture");
    if (picture) {
      const root = picture.attachShadow({mode: "open"});
      root.innerHTML = Data.read("picture-" + number);  // drawn by kernlab/sinks/timeline_svg.py, which escapes
      const svg = root.querySelector("svg");
      if (svg) { svg.style.maxWidth = "100%"; svg.style.height = "auto"; }
    }
  }

  function show(number) {
    if (number === shown) return;
    shown = number;
    document.querySelectorAll("main > section").forEach((section, at) => { section.hidden = at !== number; });
    document.querySelectorAll("nav button").forEach((button, at) => button.setAttribute("aria-current", String(at === number)));
    const section = document.querySelectorAll("main > section")[number];
    if (section && !section.dataset.built) {
      section.dataset.built = "yes";
      build(section, number);
    }
    document.documentElement.dataset.ready = "yes";
  }
  document.querySelectorAll("nav button").forEach((button, at) => button.addEventListener("click", () => { show(at); history.replaceState(null, "", "#" + button.dataset.id); }));
  addEventListener("beforeprint", () => lists.forEach((list) => list.print()));
  addEventListener("afterprint", () => lists.forEach((list) => list.screen()));
  const asked = [...document.querySelectorAll("nav button")].findIndex((button) => "#" + button.dataset.id === decodeURI(location.hash));
  show(Math.max(0, asked));
  window.kernlab = {chapter: Data.chapter, language, show};
})();
