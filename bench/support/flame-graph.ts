/** What V8 writes with `--cpu-prof`. Times are microseconds. */
interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
    readonly children?: readonly number[];
  }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

interface Frame {
  readonly name: string;
  /** Microseconds in it and in what it called. */
  total: number;
  readonly children: Map<string, Frame>;
}

const width = 1600;
const rowHeight = 17;
/** Narrower frames are left out (pixels). */
const narrowest = 0.5;

/** @returns an SVG image: each box is a function, its width the share of busy time in it and in what it called; names show on hover */
export function flameGraph(json: string): string {
  const root = framesOf(JSON.parse(json) as CpuProfile);
  const boxes: string[] = [];
  let depth = 0;
  const draw = (frame: Frame, x: number, row: number) => {
    const w = (frame.total / root.total) * width;
    if (w < narrowest) return;
    depth = Math.max(depth, row);
    boxes.push(boxOf(frame, { x, y: row * rowHeight, w, share: frame.total / root.total }));
    let at = x;
    for (const child of [...frame.children.values()].sort((a, b) => b.total - a.total)) {
      draw(child, at, row + 1);
      at += (child.total / root.total) * width;
    }
  };
  draw(root, 0, 0);
  const height = (depth + 1) * rowHeight;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="monospace" font-size="11">${boxes.join("")}</svg>\n`;
}

function framesOf({ nodes, samples, timeDeltas }: CpuProfile): Frame {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const parents = new Map(nodes.flatMap(({ id, children = [] }) => children.map((child) => [child, id] as const)));
  const root: Frame = { name: "busy", total: 0, children: new Map() };
  samples.forEach((id, index) => {
    const stack: string[] = [];
    for (let at: number | undefined = id; at !== undefined; at = parents.get(at)) {
      const frame = byId.get(at)?.callFrame;
      if (frame === undefined || frame.functionName === "(root)") break;
      stack.unshift(nameOf(frame));
    }
    if (stack[0] === "(idle)") return;
    const time = timeDeltas[index] ?? 0;
    let frame = root;
    frame.total += time;
    for (const name of stack) {
      const child: Frame = frame.children.get(name) ?? { name, total: 0, children: new Map() };
      frame.children.set(name, child);
      child.total += time;
      frame = child;
    }
  });
  return root;
}

function nameOf({ functionName, url, lineNumber }: CpuProfile["nodes"][number]["callFrame"]): string {
  if (url === "") return functionName;
  const file = url.replace(/^.*\/node_modules\//, "").replace(/^.*\/src\//, "src/");
  return `${functionName === "" ? "(anonymous)" : functionName} ${file}:${lineNumber + 1}`;
}

function boxOf(frame: Frame, { x, y, w, share }: { x: number; y: number; w: number; share: number }): string {
  const colour = /src\//.test(frame.name) ? "#f4a460" : /node:/.test(frame.name) ? "#9ecae1" : "#c7e9c0";
  const escaped = frame.name.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  const shown =
    w > 40 ? `<text x="${(x + 3).toFixed(1)}" y="${y + 12}">${escaped.slice(0, Math.floor(w / 7))}</text>` : "";
  const title = `<title>${escaped}, ${(share * 100).toFixed(1)} %</title>`;
  return `<g>${title}<rect x="${x.toFixed(1)}" y="${y}" width="${w.toFixed(1)}" height="${rowHeight - 1}" fill="${colour}"/>${shown}</g>`;
}
