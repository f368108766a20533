"""How well the text of a page can be read: WCAG 2.1, 1.4.3, in the browser itself."""

# Text whose colour and what lies below it differ by less than 4.5 to 1 (3 to 1 where it is
# large): [ratio, colours, text]. A canvas knows what every notation of a colour means.
DIM = """(() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const paint = (colors) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const color of colors) { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = new Map();
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement, text = walk.currentNode.nodeValue.trim();
    if (!text || !element.getClientRects().length || element.closest('script,style,option')) continue;
    const style = getComputedStyle(element), below = [];
    for (let at = element; at; at = at.parentElement) below.unshift(getComputedStyle(at).backgroundColor);
    if (element instanceof SVGElement) {  // a state's name stands in its box
      const box = element.previousElementSibling;
      if (box && box.tagName === 'rect') below.push(getComputedStyle(box).fill);
    }
    const ground = paint(['white', ...below]), ink = paint(['white', ...below, element instanceof SVGElement ? style.fill : style.color]);
    const [a, b] = [light(ground), light(ink)].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (large ? 3 : 4.5)) found.set(ink + ' ' + ground, [Math.round(ratio * 100) / 100, ink + ' on ' + ground, text.slice(0, 40)]);
  }
  return [...found.values()];
})()"""  # noqa: E501
