// The TCP state machine with the way that sockets went, and numbers over time.
const Drawings = (() => {
  const AT = {CLOSE: [330, 24], LISTEN: [120, 84], SYN_SENT: [540, 84], NEW_SYN_RECV: [30, 150], SYN_RECV: [205, 150], ESTABLISHED: [370, 150],
    FIN_WAIT1: [205, 226], CLOSE_WAIT: [540, 226], CLOSING: [370, 292], FIN_WAIT2: [205, 292], LAST_ACK: [540, 292], TIME_WAIT: [330, 356]};
  // What a sock of Linux may become next: tcp_set_state() and its callers in net/ipv4/tcp*.c, new_state[] in tcp.c, and
  // RFC 9293 3.3.2. A request sock (NEW_SYN_RECV) and a TIME_WAIT sock are objects of their own and become nothing else.
  const NEXT = {__proto__: null, CLOSE: ["LISTEN", "SYN_SENT"], LISTEN: ["CLOSE"], SYN_SENT: ["ESTABLISHED", "SYN_RECV", "CLOSE"], SYN_RECV: ["ESTABLISHED", "FIN_WAIT1", "CLOSE_WAIT", "CLOSE"],
    ESTABLISHED: ["FIN_WAIT1", "CLOSE_WAIT", "CLOSE"], FIN_WAIT1: ["FIN_WAIT2", "CLOSING", "CLOSE"], FIN_WAIT2: ["CLOSE"], CLOSING: ["CLOSE"], CLOSE_WAIT: ["LAST_ACK", "CLOSE"], LAST_ACK: ["CLOSE"]};
  // One object takes another's place: a request is made for a SYN, a child for the request, a TIME_WAIT sock for the connection.
  const HANDED = [["LISTEN", "NEW_SYN_RECV"], ["NEW_SYN_RECV", "SYN_RECV"], ["FIN_WAIT2", "TIME_WAIT"], ["CLOSING", "TIME_WAIT"]];
  // Drawn where nothing was seen; the ways from anywhere to CLOSE are not.
  const EDGES = Object.entries(NEXT).flatMap(([from, row]) => row.filter((to) => to !== "CLOSE" || from === "LAST_ACK").map((to) => [from, to]));
  const direct = (from, to) => (NEXT[from] || []).includes(to);
  // Whether one sock may come from here to there, past states that nobody saw. Past CLOSE it may be another sock at its address.
  function later(from, to) {
    const seen = new Set([from]), left = [from];
    while (left.length) for (const next of NEXT[left.pop()] || []) {
      if (next === to) return true;
      if (next !== "CLOSE" && !seen.has(next)) { seen.add(next); left.push(next); }
    }
    return false;
  }

  // Whether a direct change is the only way from here to there.
  const only = (from, to) => direct(from, to) && !NEXT[from].some((next) => next !== to && next !== "CLOSE" && later(next, to));

  // Each sock's states in the order they were seen. An address is used again for another sock: other ports, or a state that
  // the one before cannot come to, are another one's. Those of connections that the capture has, first.
  function paths(chapter, names) {
    const {events, wired} = chapter;
    const found = [], last = new Map();
    for (const event of events) {
      const sock = event.sock;
      if (!sock || !sock.state || (sock.protocol !== undefined && sock.protocol !== "tcp")) continue;
      const ports = sock.sport && sock.dport ? sock.sport + " " + sock.dport : "";
      let path = last.get(sock.addr);
      const add = (state, told) => {  // told: by the call that makes the change
        if (!state) return;
        const before = path && path.states[path.states.length - 1];
        if (before === state) return;
        const ended = path && before === "CLOSE" && path.states.length > 1 && !direct(before, state);
        if (!path || ended || !later(before, state)) begin();
        path.ways.push(!path.states.length || !direct(before, state) ? "" : told || only(before, state) ? "sure" : "maybe");
        path.states.push(state);
        path.seqs.push(event.seq);
      };
      const begin = () => {
        path = {addr: sock.addr, ports, label: "", states: [], seqs: [], ways: [], wired: false};
        found.push(path);
        last.set(sock.addr, path);
      };
      if (path && ports && path.ports && path.ports !== ports) path = undefined;
      add(sock.state);
      if (event.probe === "tcp_set_state" && event.args && typeof event.args.state === "number") add(names[event.args.state], true);
      path.ports = path.ports || ports;
      if (sock.sport && (ports || !path.ports)) path.label = (sock.src || "") + ":" + sock.sport + (sock.dport ? " ⇄ " + sock.dst + ":" + sock.dport : sock.state === "LISTEN" ? "  listener" : "");
      path.wired = path.wired || (ports ? wired(sock) : false);
    }
    return found.sort((a, b) => Number(b.wired) - Number(a.wired));
  }

  function machine(path) {
    const way = path.states.map((state, n) => (n ? (path.ways[n] === "sure" ? " → " : " … ") : "") + state + " (#" + path.seqs[n] + ")").join("");
    const svg = s("svg", {viewBox: "0 0 700 396", role: "img", cls: "machine", "aria-label": "TCP states: " + way});
    const on = new Set(path.states), W = 130, H = 28;
    const centre = (name) => [AT[name][0] + W / 2, AT[name][1] + H / 2];
    function clip([x, y], [tx, ty]) {
      const dx = tx - x, dy = ty - y, scale = Math.min(Math.abs(dx) ? (W / 2 + 2) / Math.abs(dx) : 9, Math.abs(dy) ? (H / 2 + 2) / Math.abs(dy) : 9);
      return [x + dx * scale, y + dy * scale];
    }
    function edge(from, to, cls) {
      const a = centre(from), b = centre(to), [x1, y1] = clip(a, b), [x2, y2] = clip(b, a);
      svg.append(s("line", {x1, y1, x2, y2, class: cls, "data-edge": from + " " + to}));
      const angle = Math.atan2(y2 - y1, x2 - x1);
      for (const turn of [2.7, -2.7]) svg.append(s("line", {x1: x2, y1: y2, x2: x2 + 8 * Math.cos(angle + turn), y2: y2 + 8 * Math.sin(angle + turn), class: cls.replace(/ (handed|maybe)/, "")}));
    }
    for (const [from, to] of EDGES) edge(from, to, "edge");
    for (const [from, to] of HANDED) edge(from, to, "edge handed");
    for (let n = 1; n < path.states.length; n++) if (path.ways[n] && AT[path.states[n - 1]] && AT[path.states[n]]) edge(path.states[n - 1], path.states[n], "edge went " + path.ways[n]);
    for (const [name, [x, y]] of Object.entries(AT)) {
      const last = path.states[path.states.length - 1] === name;
      svg.append(s("rect", {x, y, width: W, height: H, rx: 5, class: "node" + (on.has(name) ? " went" : "") + (last ? " last" : "")}),
        s("text", {x: x + W / 2, y: y + 19, class: "name" + (on.has(name) ? " went" : "")}, (on.has(name) ? path.states.map((state, n) => (state === name ? n + 1 : 0)).filter(Boolean).join(",") + "  " : "") + name));
    }
    return el("figure", {}, svg, el("figcaption", {}, el("b", {cls: "mono"}, path.label || path.addr), el("span", {cls: "dim"}, "  " + way)));
  }

  // One curve per name over time, its largest and smallest value written beside it.
  function plot(title, unit, points) {
    if (points.length < 6 || points[points.length - 1][0] <= points[0][0]) return null;
    const W = 640, H = 150, L = 64, B = 24, T = 10;
    const x0 = points[0][0], x1 = points[points.length - 1][0];
    let low = Infinity, high = -Infinity;
    for (const [, value] of points) { low = Math.min(low, value); high = Math.max(high, value); }
    if (low === high) return null;
    const floor = low > 0 && low > high / 2 ? low - (high - low || high) * 0.1 : 0;
    const x = (t) => L + (W - L - 12) * (t - x0) / (x1 - x0), y = (v) => H - B - (H - B - T) * (v - floor) / ((high - floor) || 1);
    const step = Math.max(1, Math.floor(points.length / 1200)), line = [];
    let previous = null;
    for (let n = 0; n < points.length; n += step) {
      const chunk = points.slice(n, n + step);  // what stands out is kept
      const best = chunk.reduce((a, b) => (Math.abs(b[1] - (previous ?? b[1])) > Math.abs(a[1] - (previous ?? a[1])) ? b : a));
      if (previous !== null) line.push(x(best[0]).toFixed(1) + "," + y(previous).toFixed(1));
      line.push(x(best[0]).toFixed(1) + "," + y(best[1]).toFixed(1));
      previous = best[1];
    }
    const svg = s("svg", {viewBox: `0 0 ${W} ${H}`, role: "img", cls: "plot", "aria-label": title},
      s("line", {x1: L, y1: H - B, x2: W - 12, y2: H - B, class: "axis"}), s("line", {x1: L, y1: T, x2: L, y2: H - B, class: "axis"}),
      s("text", {x: L - 6, y: y(high) + 4, class: "tick end"}, String(high)), low !== high && y(low) - y(high) > 14 ? s("text", {x: L - 6, y: y(low) + 4, class: "tick end"}, String(low)) : "",
      s("text", {x: L, y: H - 6, class: "tick"}, Parts.time(x0)), s("text", {x: W - 12, y: H - 6, class: "tick end"}, Parts.time(x1)),
      s("polyline", {points: line.join(" "), class: "curve"}));
    return el("figure", {}, el("figcaption", {}, el("b", {}, title), el("span", {cls: "dim"}, "  " + unit + ", " + points.length + " values")), svg);
  }

  function plots(chapter) {
    const series = new Map(), wired = new Set();
    const put = (owner, name, unit, t, value) => {
      if (typeof value !== "number") return;
      const key = owner + "\0" + name;
      if (!series.has(key)) series.set(key, {owner, name, unit, points: []});
      series.get(key).points.push([t, value]);
    };
    for (const event of chapter.events) {
      const sock = event.sock;
      if (!sock || sock.snd_cwnd === undefined || event.at === undefined || !sock.dport) continue;
      const owner = (sock.src || "") + ":" + sock.sport + " → " + (sock.dst || "") + ":" + sock.dport;
      if (chapter.wired(sock)) wired.add(owner);
      put(owner, "cwnd", "segments", event.at, sock.snd_cwnd);
      put(owner, "in flight", "bytes (snd_nxt − snd_una)", event.at, sock.snd_nxt === undefined ? undefined : (sock.snd_nxt - sock.snd_una) >>> 0);
      put(owner, "peer's window", "bytes (snd_wnd)", event.at, sock.snd_wnd);
      put(owner, "own window", "bytes (rcv_wnd)", event.at, sock.rcv_wnd);
      put(owner, "smoothed round trip", "µs (srtt)", event.at, sock.srtt_us || undefined);
    }
    const owners = new Map();
    for (const one of series.values()) {
      const drawn = plot(one.name, one.unit, one.points);
      if (!drawn) continue;
      if (!owners.has(one.owner)) owners.set(one.owner, []);
      owners.get(one.owner).push(drawn);
    }
    if (!owners.size) wire(chapter, owners);
    return [...owners].sort((a, b) => Number(wired.has(b[0])) - Number(wired.has(a[0]))).slice(0, 4).map(([owner, figures]) => el("div", {cls: "owner"}, el("h4", {cls: "mono"}, owner), el("div", {cls: "figures"}, ...figures)));
  }
  // Without sockets, what the segments themselves say.
  function wire(chapter, owners) {
    const sides = new Map();
    for (const one of chapter.segments) {
      const p = one.packet, owner = p.src + ":" + p.sport + " → " + p.dst + ":" + p.dport, back = p.dst + ":" + p.dport + " → " + p.src + ":" + p.sport;
      if (!sides.has(owner)) sides.set(owner, {flight: [], high: 0, una: 0, win: []});
      const mine = sides.get(owner), theirs = sides.get(back);
      if (p.rseq !== undefined && p.rseq < 2 ** 31 && p.len) { mine.high = Math.max(mine.high, p.rseq + p.len); mine.flight.push([one.at, mine.high - mine.una]); }
      if (theirs && p.rack !== undefined && p.rack < 2 ** 31) { theirs.una = Math.max(theirs.una, p.rack); if (theirs.high > 0) theirs.flight.push([one.at, Math.max(0, theirs.high - theirs.una)]); }
      if (!/[RS]/.test(p.flags)) mine.win.push([one.at, p.wnd ?? p.win]);
    }
    for (const [owner, side] of [...sides].slice(0, 8)) {
      const figures = [plot("in flight", "bytes, from the capture", side.flight), plot("window", "bytes, from the capture", side.win)].filter(Boolean);
      if (figures.length) owners.set(owner, figures);
    }
  }
  return {paths, machine, plots, NEXT};
})();
