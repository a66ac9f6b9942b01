/** Two manifests beside each other. */
import type { Schemas } from "../../api/client";
import { Foreign } from "../../parts/basic";
import { changes, nearby } from "./diff";

/** What changes from one text to another, line by line. */
export function Changes({ before, after }: { before?: string; after: string }) {
  const lines = changes(before?.split("\n") ?? [], after.split("\n"), before === undefined);
  return (
    <pre className="code">
      {nearby(lines).map((line, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: lines have nothing but their place
        <div key={index} className={line.startsWith("+") ? "added" : line.startsWith("-") ? "removed" : ""}>
          <Foreign text={line || " "} />
        </div>
      ))}
    </pre>
  );
}

/** What is different in the cluster afterwards, field by field. */
export function FieldChanges({ changes }: { changes: Schemas["FieldChange"][] }) {
  return (
    <ul className="small field-changes">
      {changes.map((it) => (
        <li key={it.path}>
          <code>
            <Foreign text={it.path} />
          </code>{" "}
          {it.before != null && (
            <del>
              <Foreign text={it.before} />
            </del>
          )}{" "}
          {it.after != null && (
            <ins>
              <Foreign text={it.after} />
            </ins>
          )}
        </li>
      ))}
    </ul>
  );
}
