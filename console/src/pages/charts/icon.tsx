/** A chart's picture as the server made it harmless, or ours where there is none. */
import { useState } from "react";
import { Icon } from "../../parts/icons";

export function ChartIcon({ src, size = 40 }: { src?: string | null; size?: number }) {
  const [isBroken, setBroken] = useState(false);
  // Only from this server, whatever somebody wrote into an index.
  if (!src?.startsWith("/api/") || isBroken)
    return (
      <span className="chart-icon" style={{ width: size, height: size }}>
        <Icon name="charts" size={size * 0.7} />
      </span>
    );
  return (
    <img
      className="chart-icon"
      src={src}
      width={size}
      height={size}
      alt=""
      loading="lazy"
      onError={() => setBroken(true)}
    />
  );
}
