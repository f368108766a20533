// Undoes kernlab/sinks/report/pack.py: rows back to events, segments with what they mean.
const Data = (() => {
  BigInt.prototype.toJSON = function () { return this.toString(); };  // numbers above 2^53
  const whole = (value) => {
    if (value === null || typeof value !== "object") return value;
    if (Array.isArray(value)) return value.map(whole);
    if (typeof value.$n === "string") return BigInt(value.$n);
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, whole(one)]));
  };
  const read = (id) => {
    const element = document.getElementById(id);
    return element ? JSON.parse(element.textContent) : null;
  };

  // All events of a chapter. ``at``: ns since its first one by the guest's clock, as the capture's
  // times are; a debugger's stops take the host's time, and none of the guest's.
  function events(rows) {
    const known = {t: [], s: [], k: [], P: [], p: [], g: []}, socks = new Map();
    const probes = [];
    const once = (list, value) => {
      if (typeof value === "number") return list[value];
      list.push(value);
      return value;
    };
    let guest = 0, host = 0, base = 0n, first;
    return rows.map((row) => {
      const event = {v: 1, seq: row.q};
      if (row.p !== undefined) event.probe = once(probes, row.p);
      if (row.g !== undefined) event.engine = once(probes, row.g);
      if (row.c !== undefined) event.cpu = row.c;
      if (row.n !== undefined) {
        event.guest_ns = guest += row.n;
        first ??= guest;
        event.at = guest - first;
      }
      if (typeof row.h === "string") base = BigInt(row.h);
      else if (row.h !== undefined) host += row.h;
      if (row.h !== undefined) { event.at ??= host; event.host_ns = base + BigInt(host); }
      if (row.t !== undefined) event.task = once(known.t, row.t);
      if (row.s !== undefined) event.site = once(known.s, row.s);
      if (row.k !== undefined) event.stack = once(known.k, row.k);
      if (row.P !== undefined) event.packet = once(known.P, row.P);
      if (row.l !== undefined) event.line = row.l;
      if (row.b !== undefined) event.skb = row.b;
      if (row.S !== undefined) {
        const [addr, changed, gone] = row.S;
        const sock = {...socks.get(addr), addr, ...changed};
        for (const name of gone || []) delete sock[name];
        socks.set(addr, sock);
        event.sock = sock;
      }
      if (row.f !== undefined) event.frame = row.f;
      if (row.o !== undefined) event.refused = row.o;
      if (row.d !== undefined) event.dropped = row.d;
      return row.x ? Object.assign(event, whole(row.x)) : event;
    });
  }

  const ends = (packet) => (packet.len || 0) + (packet.flags.includes("S") ? 1 : 0) + (packet.flags.includes("F") ? 1 : 0);
  const alike = (a, b) => ["src", "sport", "dst", "dport", "seq", "ack", "flags", "len", "win", "ip_id"].every((k) => a[k] === b[k])
    && JSON.stringify(a.options) === JSON.stringify(b.options);

  // Adds a range to ranges that are in order and do not touch.
  function join(ranges, from, to) {
    const last = ranges[ranges.length - 1];
    if (from >= last[0] && from <= last[1]) { last[1] = Math.max(last[1], to); return; }  // as nearly always
    ranges.push([from, to]);
    ranges.sort((a, b) => a[0] - b[0]);
    for (let n = ranges.length - 1; n > 0; n--) {
      if (ranges[n][0] <= ranges[n - 1][1]) { ranges[n - 1][1] = Math.max(ranges[n - 1][1], ranges[n][1]); ranges.splice(n, 1); }
    }
    if (ranges.length > 64) ranges.shift();
  }

  // Segments: what was sent again, what a second interface saw of one, who answers whom.
  function segments(rows) {
    const base = rows.length ? BigInt(rows[0][1]) : 0n;
    const sent = new Map(), acked = new Map(), recent = [];
    const found = [];
    for (const [number, at, flow, client, packet, device, came] of rows) {
      const one = {number, at: Number(BigInt(at) - base), flow, client: !!client, packet: {...packet, proto: "tcp"}, device, notes: [], also: []};
      if (came && packet.flags.includes("R")) one.notes.push("came in on " + device + ": the other end sent it");
      const twin = recent.find((other) => other.flow === flow && one.at - other.at < 1e6 && alike(packet, other.packet));
      if (twin && !(packet.ip_id === 0 && packet.len)) { twin.also.push(number); continue; }
      recent.push(one);
      if (recent.length > 8) recent.shift();
      const side = flow + (client ? ">" : "<"), rseq = packet.rseq;
      const length = ends(packet);
      if (rseq !== undefined && !packet.flags.includes("R")) {
        const end = rseq + length, known = sent.get(side);
        if (length && rseq < 2 ** 31) {
          if (!known) sent.set(side, [[rseq, end]]);
          else {
            const high = known[known.length - 1][1];
            if (known.some(([from, to]) => rseq < to && end > from)) { one.notes.push("sent again"); one.again = true; }
            else if (rseq > high) one.notes.push("gap of " + (rseq - high) + " bytes before it");
            join(known, rseq, end);
          }
        }
      }
      if (packet.rack !== undefined && !length && packet.flags === "A") {
        const key = packet.rack + "/" + packet.win;
        if (acked.get(side) === key) one.notes.push("the same ACK again");
        acked.set(side, key);
      } else if (packet.rack !== undefined) acked.set(side, packet.rack + "/" + packet.win);
      if (packet.win === 0 && !packet.flags.includes("R") && !packet.flags.includes("S")) one.notes.push("zero window");
      found.push(one);
    }
    return found;
  }

  // An event without a packet that was called from where a packet just was is of its journey.
  // So is one that led to it: of the same socket and, as kernlab/reasons/match.py one_call() has
  // it, the same call: from the outermost frame inwards their stacks part inside one function.
  function leads(event, to) {
    if (event.frame !== undefined || !event.sock || !to.sock || event.sock.addr !== to.sock.addr || !event.task || !to.task || event.task.pid !== to.task.pid) return false;
    const one = event.stack || [], other = to.stack || [];
    for (let n = 1; n <= Math.min(one.length, other.length); n++) {
      const a = one[one.length - n], b = other[other.length - n];
      if (a.func !== b.func) return false;
      if (a.line !== b.line) return true;
    }
    return false;
  }
  function within(list) {
    const last = new Map(), bySeq = new Map(), waiting = new Map();
    for (const event of list) {
      const cpu = event.cpu;
      if (event.frame !== undefined || (event.packet && event.packet.src)) {
        const row = last.get(cpu) || [];  // one that has no frame too: what it calls has none
        row.unshift(event);
        row.length = Math.min(row.length, 4);
        last.set(cpu, row);
      }
      if (event.frame !== undefined) {
        for (const earlier of waiting.get(cpu) || []) if (leads(earlier, event)) earlier.frame = event.frame;
        waiting.delete(cpu);
        if (event.before) for (const earlier of Object.values(event.before)) {
          const found = bySeq.get(earlier.seq);  // what led to a RST
          if (found && found.frame === undefined) found.frame = event.frame;
        }
      } else if (event.stack && !(event.packet && event.packet.src)) {
        const caller = (last.get(cpu) || []).find((other) => other.task && event.task && other.task.pid === event.task.pid
          && event.stack.slice(1).some((frame) => frame.func === (other.site || {}).func));
        if (caller) event.frame = caller.frame;
        else waiting.set(cpu, [...(waiting.get(cpu) || []).slice(-7), event]);
      }
      if (bySeq.size > 20000) bySeq.clear();
      bySeq.set(event.seq, event);
    }
  }

  // An event's packet with its numbers counted as the diagram counts them: from what each side
  // of its connection began with. Beyond NAT its frame knows them.
  function relative(wire, frames) {
    const bases = new Map(), shifts = new Map(), key = (p) => p.src + " " + p.sport + " " + p.dst + " " + p.dport;
    const back = (p) => p.dst + " " + p.dport + " " + p.src + " " + p.sport;
    for (const {packet: p} of wire) {
      if (p.rseq !== undefined) bases.set(key(p), (p.seq - p.rseq) >>> 0);
      if (p.rack !== undefined) bases.set(back(p), (p.ack - p.rack) >>> 0);
      if (p.wnd) shifts.set(key(p), p.wnd / p.win);
    }
    return (event) => {
      const p = event.packet, seen = frames.get(event.frame)?.packet;
      if (seen && seen.seq === p.seq && seen.flags === p.flags && seen.rseq !== undefined) return {...p, rseq: seen.rseq, rack: seen.rack, wnd: seen.wnd};
      const mine = bases.get(key(p)), theirs = bases.get(back(p)), found = {...p};
      if (mine !== undefined && p.seq !== undefined) found.rseq = (p.seq - mine) >>> 0;
      if (theirs !== undefined && p.ack !== undefined) found.rack = (p.ack - theirs) >>> 0;
      if (shifts.has(key(p)) && p.win !== undefined && !(p.flags || "").includes("S")) found.wnd = p.win * shifts.get(key(p));
      return found;
    };
  }

  const chapters = new Map();
  function chapter(number) {
    if (!chapters.has(number)) {
      const list = events(read("events-" + number) || []);
      const wire = segments(read("segments-" + number) || []);
      const frames = new Map(), byFrame = new Map(), byPacket = new Map();
      for (const one of wire) for (const n of [one.number, ...one.also]) frames.set(n, one);
      within(list);
      for (const event of list) {
        for (const number of [event.frame, event.refused]) {
          const one = number === undefined ? undefined : frames.get(number);
          if (!one) continue;
          if (!byFrame.has(one)) byFrame.set(one, []);
          byFrame.get(one).push(event);
          event.flow ??= one.flow;
        }
        const id = event.packet && event.packet.id;
        if (id) {
          if (!byPacket.has(id)) byPacket.set(id, []);
          byPacket.get(id).push(event);
        }
      }
      const ends = new Set(wire.flatMap(({packet: p}) => [p.src + " " + p.sport + " " + p.dport, p.dst + " " + p.dport + " " + p.sport]));
      chapters.set(number, {wired: (sock) => ends.has(sock.src + " " + sock.sport + " " + sock.dport), events: list, segments: wire, byFrame, byPacket, frames, relative: relative(wire, frames),
        sources: read("sources-" + number) || {}});
    }
    return chapters.get(number);
  }
  return {read, chapter};
})();
