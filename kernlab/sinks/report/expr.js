// kernlab/decode/expr.py in the page: one grammar, one table of tests. Fields come from there.
const Expr = (() => {
  const TOKEN = /\s*(?:('[^']*'|"[^"]*")|(==|!=|<=|>=|&&|\|\||[=<>~!(),])|([^\s()'",=!<>~&|]+))/y;
  const WORDS = {and: "and", "&&": "and", or: "or", "||": "or", not: "not", "!": "not"};
  const OPERATORS = new Set(["==", "=", "!=", "<", "<=", ">", ">=", "~", "in", "has"]);
  const ALLOWED = {
    number: ["==", "!=", "<", "<=", ">", ">=", "in"], named: ["==", "!=", "<", "<=", ">", ">=", "in"], text: ["==", "!=", "~", "in"],
    flags: ["==", "!=", "has", "in"], state: ["==", "!=", "in", "~"],
    address: ["==", "!=", "in"], stack: ["has", "~"],
    open: ["==", "!=", "<", "<=", ">", ">=", "~", "in", "has"],
  };
  const INTEGER = /^[+-]?(0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+|0+|[1-9][0-9]*)$/;

  class Wrong extends Error {
    constructor(message, column) { super(message); this.column = column; }
  }

  const own = (object, key) => Object.prototype.hasOwnProperty.call(object, key);
  const integer = (text) => {
    if (!INTEGER.test(text)) return null;
    const sign = text[0] === "-" ? -1 : 1;
    const digits = text.replace(/^[+-]/, ""), value = Number(digits);
    return Number.isSafeInteger(value) ? sign * value : BigInt(sign) * BigInt(digits);
  };

  const LETTERS = "FSRPAUEC";
  const FLAGS = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
  function flagsValue(text) {
    let value = 0;
    for (const word of String(text).toUpperCase().split(/[-+,| ]/)) {
      for (const flag of FLAGS.includes(word) ? [word] : word) {
        const bit = flag.length > 1 ? FLAGS.indexOf(flag) : LETTERS.indexOf(flag);
        if (bit < 0) throw new TypeError("'" + flag + "' is not a TCP flag");
        value |= 1 << bit;
      }
    }
    return value;
  }
  function flagsOrNull(text) {
    try { return /^[A-Z]/.test(text) && text === text.toUpperCase() ? flagsValue(text) : null; } catch (error) { return null; }
  }

  // An address as {version, value, bits}; a prefix has fewer bits than its version's.
  function address(text) {
    const [host, prefix, more] = text.split("/");
    if (more !== undefined) return null;
    let value, size;
    if (host.includes(":")) {
      size = 128;
      const halves = host.split("::");
      if (halves.length > 2) return null;
      const parts = (half) => {
        if (half === "") return [];
        const found = half.split(":");
        const last = found[found.length - 1];
        if (last.includes(".")) {
          const four = quad(last);
          if (four === null) return [NaN];
          found.splice(-1, 1, (four >> 16n).toString(16), (four & 0xffffn).toString(16));
        }
        return found.map((part) => (/^[0-9a-fA-F]{1,4}$/.test(part) ? parseInt(part, 16) : NaN));
      };
      const head = parts(halves[0]), tail = halves.length === 2 ? parts(halves[1]) : [];
      const left = 8 - head.length - tail.length;
      if (halves.length === 2 ? left < 1 : left !== 0) return null;
      const all = [...head, ...Array(halves.length === 2 ? left : 0).fill(0), ...tail];
      if (all.some(Number.isNaN)) return null;
      value = all.reduce((sum, part) => (sum << 16n) | BigInt(part), 0n);
    } else {
      size = 32;
      value = quad(host);
      if (value === null) return null;
    }
    let bits = size;
    if (prefix !== undefined) {
      if (!/^\d+$/.test(prefix) || Number(prefix) > size) return null;
      bits = Number(prefix);
    }
    if (prefix === undefined && size === 128 && value >> 32n === 0xffffn) {  // IPv4-mapped
      value &= 0xffffffffn; size = bits = 32;
    }
    return {size, value: value >> BigInt(size - bits), bits};
  }
  function quad(text) {
    const parts = text.split(".");
    if (parts.length !== 4 || parts.some((p) => !/^(0|[1-9]\d{0,2})$/.test(p) || Number(p) > 255)) return null;
    return parts.reduce((sum, part) => (sum << 8n) | BigInt(part), 0n);
  }
  function inside(found, network) {
    const one = address(String(found));
    if (one === null) throw new TypeError("no address");
    return one.size === network.size && one.value >> BigInt(network.size - network.bits) === network.value;
  }

  // kernlab/decode/chains.py: C's postfix expressions.
  const NAME = /\$?[A-Za-z_]\w*/y, STEP = /\s*(->|\.)\s*([A-Za-z_]\w*)/y;
  const MASK = /\s*&(?!&)\s*(?:0[xX][0-9a-fA-F]+|\d+|[A-Za-z_]\w*)(?![\w(])/y;
  const SWAPPED = /^(?:hton|ntoh)([sl])\((\w+)\)$/;
  const isC = (name) => name.includes("->") || name.includes("(");
  const matchAt = (pattern, text, at) => { pattern.lastIndex = at; return pattern.exec(text); };
  function closed(text, at) {
    let depth = 0, quote = "";
    for (let place = at; place < text.length; place++) {
      const letter = text[place];
      if (quote) { if (letter === quote) quote = ""; }
      else if (letter === "'" || letter === '"') quote = letter;
      else if (letter === "(" || letter === "[") depth++;
      else if ((letter === ")" || letter === "]") && --depth === 0) return place + 1;
    }
    return -1;
  }
  function cEnd(text, at) {
    let call = false, arrows = 0, end;
    const name = matchAt(NAME, text, at);
    if (name) {
      end = NAME.lastIndex;
      if (text[end] === "(" && !["and", "or", "not", "in", "has"].includes(name[0])) { end = closed(text, end); call = true; }
    } else if (text[at] === "(") end = closed(text, at);
    else return null;
    while (end > 0) {
      const step = matchAt(STEP, text, end);
      if (step) { if (step[1] === "->") arrows++; end = STEP.lastIndex; }
      else if (text[end] === "[") end = closed(text, end);
      else {
        if (!arrows && !call) return null;
        return matchAt(MASK, text, end) ? MASK.lastIndex : end;
      }
    }
    return null;
  }

  function get(event, path) {
    let value = event;
    if (path.startsWith("show.") && event.show !== null && typeof event.show === "object" && own(event.show, path.slice(5))) {
      return event.show[path.slice(5)] ?? null;
    }
    for (const step of path.split(".")) {
      if (value === null || typeof value !== "object" || Array.isArray(value) || !own(value, step)) return null;
      value = value[step];
    }
    return value === undefined ? null : value;
  }

  function make(fields) {
    const apart = (name) => name.startsWith("before.") || fields.open.some((prefix) => name.startsWith(prefix));
    const paths = (name) => (own(fields.short, name) ? fields.short[name] : [[isC(name) && !apart(name) ? "show." + name : name]]);
    function typeOf(name) {
      if (own(fields.types, name)) return fields.types[name];
      if (own(fields.short, name)) return fields.types[fields.short[name][0][0]];
      if (isC(name) || fields.open.some((prefix) => name.startsWith(prefix))) return "open";
      if (name.startsWith("before.")) {
        const [probe, ...rest] = name.slice(7).split(".");
        return rest.length ? typeOf(rest.join(".")) : probe ? "open" : null;
      }
      return null;
    }
    function values(event, name) {
      for (const group of paths(name)) {
        const found = group.map((path) => get(event, path)).filter((value) => value !== null);
        if (found.length) return found;
      }
      return [];
    }

    const plain = (value) => (typeof value === "boolean" ? Number(value) : value);
    const numeric = (value) => typeof value === "number" || typeof value === "bigint";
    // A number and a BigInt of the same value are equal by == alone.
    const same = (a, b) => { a = plain(a); b = plain(b); return numeric(a) && numeric(b) ? a == b : a === b; };
    function compare(a, b, operator) {
      a = plain(a); b = plain(b);
      if (!(numeric(a) && numeric(b)) && !(typeof a === "string" && typeof b === "string")) throw new TypeError("not comparable");
      return operator === "<" ? a < b : operator === "<=" ? a <= b : operator === ">" ? a > b : a >= b;
    }
    // What a word stands for where a number is; kernlab.decode.compare.number_of.
    const TCPHDR = {TCPHDR_FIN: 1, TCPHDR_SYN: 2, TCPHDR_RST: 4, TCPHDR_PSH: 8, TCPHDR_ACK: 16, TCPHDR_URG: 32, TCPHDR_ECE: 64, TCPHDR_CWR: 128};
    const numbered = (value) => numeric(plain(value));
    const isAddress = (text) => typeof text === "string" && /^0x[0-9a-f]+$/.test(text);
    function stateNumber(text) {
      const name = text.toUpperCase().replace(/^TCP_/, "");
      return own(fields.numbers, name) ? fields.numbers[name] : null;
    }
    function numberOf(text) {
      if (["NULL", "FALSE"].includes(text.toUpperCase())) return 0;
      if (text.toLowerCase() === "true") return 1;
      return stateNumber(text) ?? (own(TCPHDR, text) ? TCPHDR[text] : flagsOrNull(text));
    }
    const numberIn = (found, value) => (isAddress(found) && (numbered(value) || value === found) ? integer(found) : found);
    function numberFor(value, found) {
      if (typeof value !== "string" || !(numbered(found) || isAddress(found))) return value;
      const number = numberOf(value);
      if (number === null && numbered(found)) throw new TypeError(value);
      return number ?? value;
    }
    function sameOpen(found, value) {
      value = numberFor(value, found);
      found = numberIn(found, value);
      if (typeof found === "string" && typeof value === "string" && found !== value) {
        const number = stateNumber(found);
        return number !== null && number === stateNumber(value);
      }
      return same(found, value);
    }
    const written = (value) => (value === true ? "True" : value === false ? "False" : String(value));

    function checker(kind, operator, value) {
      if (["<", "<=", ">", ">="].includes(operator)) {
        if (kind === "open") return (found) => compare(numberIn(found, value), numberFor(value, found), operator);
        if (kind === "named") return (found) => numbered(found) && compare(found, value, operator);  // not its name, beside it
        return (found) => compare(found, value, operator);
      }
      if (operator === "~") {
        const pattern = new RegExp(value);
        if (kind === "stack") return (found) => found.some((frame) => pattern.test(frame.func || ""));
        return (found) => pattern.test(written(found));
      }
      if (operator === "has") {
        if (kind === "flags") return (found) => (flagsValue(found) & value) === value;
        if (kind === "stack") return (found) => found.some((frame) => frame.func === value);
        return (found) => {
          if (numbered(found)) {
            const bits = typeof value === "string" ? (own(TCPHDR, value) ? TCPHDR[value] : flagsValue(value)) : value;
            return (BigInt(plain(found)) & BigInt(bits)) === BigInt(bits);
          }
          if (Array.isArray(found)) return found.some((one) => same(one, value));
          if (typeof found === "string" && typeof value === "string") return found.includes(value);
          if (found !== null && typeof found === "object") return own(found, value);
          throw new TypeError("holds nothing");
        };
      }
      const wanted = Array.isArray(value) ? value : [value];
      if (kind === "flags") return (found) => wanted.includes(flagsValue(found));
      if (kind === "address") return (found) => wanted.some((network) => inside(found, network));
      if (kind === "open") return (found) => wanted.some((one) => sameOpen(found, one));
      return (found) => wanted.some((one) => same(found, one));
    }

    // A number, or the name of one: kernlab.decode.values.named.
    function named(name, operator, text, token) {
      const number = integer(text);
      if (number !== null) return number;
      const known = fields.words[paths(name)[0][0].split(".").pop()] || [];
      const word = text.toUpperCase().replace(/^(?:ICMP(?:V6)?|NDISC)_/, "");
      if (!known.includes(word)) throw new Wrong(name + " is a number or its name, '" + text + "' is neither", token.column);
      if (["<", "<=", ">", ">="].includes(operator)) throw new Wrong("'" + text + "' is a name, and names have no order", token.column);
      return word;
    }

    function parse(text) {
      if (!text.trim()) throw new Wrong("the expression is empty", 1);
      const tokens = [];
      let at = 0, depth = 0, next = 0;
      while (text.slice(at).trim()) {
        const begin = at + text.slice(at).length - text.slice(at).trimStart().length;
        const end = cEnd(text, begin);
        if (end !== null) {
          tokens.push({kind: "c", text: text.slice(begin, end).trim().split(/\s+/).join(" "), column: begin + 1});
          at = end;
          continue;
        }
        TOKEN.lastIndex = at;
        const match = TOKEN.exec(text);
        if (!match) {
          const column = at + text.slice(at).length - text.slice(at).trimStart().length + 1;
          throw new Wrong("cannot read '" + text.slice(column - 1, column + 10) + "'", column);
        }
        const kind = match[1] !== undefined ? "string" : match[2] !== undefined ? "op" : "word";
        const body = match[1] ?? match[2] ?? match[3];
        tokens.push({kind, text: body, column: TOKEN.lastIndex - body.length + 1});
        at = TOKEN.lastIndex;
      }
      const peek = () => tokens[next];
      function take(wanted) {
        if (next >= tokens.length) throw new Wrong("expected " + wanted + ", but the expression ends here", text.length + 1);
        return tokens[next++];
      }
      const joiner = () => {
        const token = peek();
        return token && token.kind !== "string" && own(WORDS, token.text) ? WORDS[token.text] : "";
      };
      function joined(word) {
        const inner = () => (word === "or" ? joined("and") : factor());
        const parts = [inner()];
        while (joiner() === word) { next++; parts.push(inner()); }
        if (parts.length === 1) return parts[0];
        const decisive = word === "or";
        return (event) => {
          let result = !decisive;
          for (const part of parts) {
            const value = part(event);
            if (value === decisive) return decisive;
            if (value === null) result = null;
          }
          return result;
        };
      }
      function factor() {
        const token = take("a field");
        if (++depth > 50) throw new Wrong("nested too deeply", token.column);
        try {
          if (token.kind !== "string" && own(WORDS, token.text) && WORDS[token.text] === "not") {
            const inner = factor();
            return (event) => { const value = inner(event); return value === null ? null : !value; };
          }
          if (token.text === "(") {
            const inner = joined("or");
            const closing = take("')'");
            if (closing.text !== ")") throw new Wrong("expected ')' before '" + closing.text + "'", closing.column);
            return inner;
          }
          return test(token);
        } finally { depth--; }
      }
      function test(token) {
        const name = token.text;
        const kind = token.kind === "word" || token.kind === "c" ? typeOf(name) : null;
        if (kind === null) throw new Wrong("there is no field '" + name + "'", token.column);
        const following = peek();
        if (!following || following.kind === "string" || !OPERATORS.has(following.text)) {
          if (isC(name)) {
            return (event) => {
              const [found] = values(event, name);
              return found === undefined ? null : Boolean(numberIn(found, found));
            };
          }
          return (event) => values(event, name).length > 0;
        }
        next++;
        const operator = following.text === "=" ? "==" : following.text;
        if (!ALLOWED[kind].includes(operator)) {
          throw new Wrong("'" + operator + "' cannot be used with " + name, following.column);
        }
        const wanted = value(name, kind, operator);
        const other = wanted !== null && typeof wanted === "object" && own(wanted, "other") ? wanted.other : null;
        const fixed = other === null ? checker(kind, operator, wanted) : null;
        return (event) => {
          const found = values(event, name);
          if (!found.length) return null;
          let check = fixed;
          if (check === null) {
            const [there] = values(event, other);
            if (there === undefined) return null;
            check = checker(kind, operator, there);
          }
          try {
            const hit = found.some(check);
            return operator === "!=" ? !hit : hit;
          } catch (error) {
            if (error instanceof TypeError) return null;
            throw error;
          }
        };
      }
      function value(name, kind, operator) {
        const token = take("a value");
        if (token.text === "(" && token.kind === "op") {
          if (operator !== "in") throw new Wrong("a list goes with 'in'", token.column);
          const found = [];
          for (;;) {
            found.push(one(take("a value"), name, kind, operator));
            const mark = take("',' or ')'");
            if (mark.text === ")") return found;
            if (mark.text !== ",") throw new Wrong("expected ',' or ')' before '" + mark.text + "'", mark.column);
          }
        }
        const single = one(token, name, kind, operator);
        return operator === "in" ? [single] : single;
      }
      function one(token, name, kind, operator) {
        if (token.kind === "c") {
          const swapped = SWAPPED.exec(token.text);
          if (swapped) {
            const number = integer(swapped[2]);
            if (number === null) throw new Wrong(swapped[2] + " is no number", token.column);
            const n = Number(BigInt.asUintN(32, BigInt(number)));
            return swapped[1] === "s" ? ((n & 255) << 8) | ((n >> 8) & 255) : (((n & 255) << 24) | ((n & 0xff00) << 8) | ((n >>> 8) & 0xff00) | (n >>> 24)) >>> 0;
          }
          if (kind !== "open" || ["in", "~", "has"].includes(operator)) throw new Wrong("a C expression is not allowed here", token.column);
          return {other: token.text};
        }
        if (token.kind === "op") throw new Wrong("expected a value, not '" + token.text + "'", token.column);
        const body = token.kind === "string" ? token.text.slice(1, -1) : token.text;
        if (operator === "~") {
          try { new RegExp(body); } catch (error) { throw new Wrong("bad regular expression: " + error.message, token.column); }
          return body;
        }
        if (kind === "number") {
          const number = integer(body.trim());
          if (number === null) throw new Wrong(name + " is a number, '" + body + "' is not", token.column);
          return number;
        }
        if (kind === "named") return named(name, operator, body.trim(), token);
        if (kind === "flags") {
          try { return flagsValue(body); } catch (error) { throw new Wrong(error.message, token.column); }
        }
        if (kind === "state") {
          const state = body.toUpperCase().replace(/^TCP_/, "");
          if (!fields.states.includes(state)) throw new Wrong("'" + body + "' is not a TCP state", token.column);
          return state;
        }
        if (kind === "address") {
          const found = address(body);
          if (found === null) throw new Wrong("'" + body + "' is not an address", token.column);
          return found;
        }
        if (kind === "open" && token.kind === "word") return integer(body) ?? body;
        return body;
      }
      const result = joined("or");
      const token = peek();
      if (token) throw new Wrong("expected 'and' or 'or' before '" + token.text + "'", token.column);
      return result;
    }
    return {parse, values, typeOf};
  }
  return {make, Wrong};
})();
if (typeof module !== "undefined") module.exports = Expr;
