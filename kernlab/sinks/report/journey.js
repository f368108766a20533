// What the kernel did with one segment: its hops by layer, and what changed between them.
const Journey = (() => {
  // kernlab/sinks/lanes.py: columns, and rows of a pattern, a lane and its column.
  const {columns: LANES, rows} = Data.read("page").lanes;
  const ROWS = rows.map(([pattern, name, column]) => [new RegExp(pattern), name, LANES.indexOf(column)]);
  // A place in a header's inline function is where the function stands that it is part of.
  const NET = /^(net|drivers)\//;
  // The number of a column, and the name of the lane in it.
  function lane(event) {
    const own = (event.site && event.site.file) || "", outer = NET.test(own) ? null : (event.stack || []).find((frame) => NET.test(frame.file || ""));
    const file = outer ? outer.file : own, func = (event.site && event.site.func) || event.probe || "";
    if (/^nf_|_table$/.test(func)) return [LANES.indexOf("netfilter"), "netfilter"];
    const found = ROWS.find(([pattern]) => pattern.test(file));
    return found ? [found[2], found[1]] : [LANES.length - 1, "socket"];
  }
  const plain = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));
  const QUIET = new Set(["via", "addr"]);

  // What is not as it was at the last hop that had the same object.
  function changes(event, before) {
    const found = [];
    const put = (name, was, is) => found.push(el("span", {cls: "change"}, el("b", {}, name), " " + (was === undefined ? "" : plain(was) + " → ") + plain(is)));
    const own = " " + ((event.packet || {}).id || "");  // of the same packet
    if (event.packet && event.packet.src) {
      const was = before.get("packet" + own);
      for (const name of was ? ["src", "sport", "dst", "dport"] : []) if (was[name] !== event.packet[name]) put("packet." + name, was[name], event.packet[name]);
      before.set("packet" + own, event.packet);  // NAT
    }
    for (const kind of ["sock", "skb"]) {
      const now = event[kind];
      if (!now) continue;
      const key = kind + (kind === "skb" ? own : "") + now.addr, was = before.get(key) || (kind === "skb" ? before.get("skb" + own) : undefined);
      if (was) {
        for (const [name, value] of Object.entries(now)) {
          if (QUIET.has(name) && !(kind === "skb" && name === "addr")) continue;
          if (was[name] !== undefined && plain(was[name]) !== plain(value)) put(kind + "." + name, was[name], value);
        }
      }
      before.set(key, now);
      if (kind === "skb") before.set("skb" + own, now);
    }
    return found;
  }

  function source(rows, line) {
    return el("pre", {cls: "source"}, ...rows.map(([number, text]) =>
      el("span", {cls: number === line ? "line here" : "line"}, el("i", {}, String(number)), text + "\n")));
  }
  function where(frame, sources) {
    const at = frame.file ? frame.file + ":" + frame.line : "";
    const rows = sources[at];
    const name = el("span", {}, el("b", {}, frame.func), frame.inlined ? el("em", {}, " inlined") : "", el("small", {}, "  " + at));
    return rows ? el("details", {}, el("summary", {}, name), source(rows, frame.line)) : el("div", {cls: "nosource"}, name);
  }
  function stack(event, sources) {
    if (!event.stack || !event.stack.length) return "";
    return el("details", {cls: "stack"}, el("summary", {}, "stack, " + event.stack.length + " frames"),
      el("ol", {}, ...event.stack.map((frame) => el("li", {}, where(frame, sources)))));
  }
  function values(title, object) {
    if (!object) return "";
    const rows = Object.entries(object).filter(([name]) => name !== "raw");
    if (!rows.length) return "";
    return el("details", {cls: "values"}, el("summary", {}, title), el("dl", {}, ...rows.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, plain(value))])));
  }

  function hop(event, sources, before, start, relative) {
    const [at, name] = lane(event), site = event.site || {func: event.probe};
    const shown = {...event.texts, ...event.show, ...(event.ret === undefined ? {} : {"returned": event.ret})};
    const state = event.sock && event.sock.state;
    const rst = event.rst;
    return el("article", {cls: "hop" + (rst ? " bad" : ""), "data-seq": event.seq},
      el("div", {cls: "lanes", "aria-hidden": "true"}, ...LANES.map((column, n) => el("i", {cls: n === at ? "on l" + n : "", title: n === at ? name : column}))),
      el("div", {cls: "what"},
        el("header", {}, el("strong", {}, event.probe || site.func), el("span", {cls: "tag l" + at}, name),
          state ? el("span", {cls: "state"}, state) : "",
          el("small", {}, "#" + event.seq + "  +" + Parts.time((event.at || 0) - start) + "  cpu " + event.cpu + (event.task ? "  " + event.task.comm + "/" + event.task.pid : ""))),
        event.packet && event.packet.id && event.packet.flags === undefined && event.line === undefined && !event.error ? "" : event.packet ? el("div", {cls: "dim mono"}, Parts.packet(relative(event), event.line), Parts.sends(event) ? el("b", {}, "  " + Parts.sends(event)) : "") : "",
        el("div", {cls: "changes"}, ...changes(event, before),
          ...Object.entries(shown).map(([name, value]) => el("span", {cls: "change seen"}, el("b", {}, name), " " + plain(value)))),
        where({func: "source", file: site.file, line: site.line}, sources),
        el("div", {cls: "more"}, stack(event, sources), values("socket", event.sock), values("skb", event.skb), values("packet", event.packet), values("arguments", event.args), values("variables", event.locals))));
  }
  function verdict(rst) {
    const rows = [["because", rst.condition], ["race", rst.race], ["this side", (rst.errno || {}).local], ["other side", (rst.errno || {}).peer], ["kernels", rst.kernels], ["remedy", rst.remedy]];
    return el("div", {cls: "rst"}, el("strong", {}, "RST: " + rst.cause + "  " + (rst.name || "no rule matches: nothing is guessed")),
      el("p", {}, rst.says || ""), el("dl", {}, ...rows.filter(([, text]) => text).flatMap(([name, text]) => [el("dt", {}, name), el("dd", {}, text)])));
  }

  function show(box, title, subtitle, events, chapter, packet) {
    const before = new Map(), start = events.length ? events[0].at || 0 : 0;
    const shown = events.slice(0, 300);
    box.replaceChildren(el("h3", {tabindex: "-1"}, title), el("p", {cls: "dim mono"}, subtitle),
      ...events.filter((event) => event.rst).map((event) => verdict(event.rst)),
      events.length ? el("div", {cls: "hop head", "aria-hidden": "true"}, el("div", {cls: "lanes names"}, ...LANES.map((name, n) => el("i", {cls: "l" + n}, name))), el("div", {}))
        : el("p", {cls: "dim"}, "No probe stopped for it: the capture alone saw this segment."),
      ...shown.map((event) => hop(event, chapter.sources, before, start, chapter.relative)),
      events.length > 300 ? el("p", {cls: "dim"}, "and " + (events.length - 300) + " more") : "", values("the segment's fields", packet));
    box.scrollTop = 0;
  }
  return {show, lane, LANES, verdict};
})();
