export interface Bar {
  readonly label: string;
  readonly value: number;
}

const [LABELS, WIDTH, ROW] = [180, 640, 24];

/** Renders horizontal bars with their values as SVG. */
export function barChart(title: string, bars: readonly Bar[]): string {
  const max = Math.max(...bars.map(({ value }) => value));
  const height = (bars.length + 2) * ROW;
  const rows = bars.map(({ label, value }, i) => {
    const y = (i + 1.5) * ROW;
    const width = ((WIDTH - LABELS - 70) * value) / max;
    return `<text x="${LABELS - 8}" y="${y + 15}" text-anchor="end">${escapeXml(label)}</text>
<rect x="${LABELS}" y="${y + 3}" width="${width.toFixed(1)}" height="${ROW - 8}" fill="#3b6ea5"/>
<text x="${(LABELS + width + 6).toFixed(1)}" y="${y + 15}">${value.toFixed(1)}</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#fff"/>
<text x="8" y="20" font-weight="bold">${escapeXml(title)}</text>
${rows.join('\n')}
</svg>
`;
}

function escapeXml(text: string): string {
  return text.replace(/[<>&]/g, (char) => `&#${char.charCodeAt(0)};`);
}
