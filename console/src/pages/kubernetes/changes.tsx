/** Two manifests beside each other. */
import { Foreign } from "../../parts/basic";
import { changes } from "./diff";

/** What changes from one text to another, line by line. */
export function Changes({ before, after }: { before?: string; after: string }) {
  return (
    <pre className="code">
      {changes(before?.split("\n") ?? [], after.split("\n"), before === undefined).map((line, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: lines have nothing but their place
        <div key={index} className={line.startsWith("+") ? "added" : line.startsWith("-") ? "removed" : ""}>
          <Foreign text={line || " "} />
        </div>
      ))}
    </pre>
  );
}
