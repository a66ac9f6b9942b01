/** The machines that hold an image, so that a container of it starts there at once. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { api, call, type Image } from "../../api/client";
import { queries } from "../../api/queries";
import { useText } from "../../i18n";
import { Badge, Button, Foreign, Skeleton, Trouble } from "../../parts/basic";
import { Pull } from "../../parts/pull";
import { useComplaint } from "../../parts/toasts";
import { useIsAdmin } from "../../shell/session";
import { machineName } from "../../states";

export function HeldBy({ image }: { image: Image }) {
  const { t, word, bytes } = useText();
  const client = useQueryClient();
  const complain = useComplaint();
  const isAdmin = useIsAdmin();
  const machines = useQuery(queries.machines());
  const held = useQuery(queries.heldBy(image.id));
  if (held.error) return <Trouble error={held.error} onRetry={held.refetch} />;
  if (!held.data || !machines.data) return <Skeleton rows={2} />;
  const fetchAhead = (machine: string) =>
    call(api.PUT("/api/v1/images/{id}/machines/{machine}", { params: { path: { id: image.id, machine } } })).then(
      () => client.invalidateQueries({ queryKey: ["held-by", image.id] }),
      complain,
    );
  return (
    <ul className="stack">
      {machines.data.data.map((machine) => {
        const it = held.data.data.find((row) => row.machine_id === machine.machine_id);
        return (
          <li key={machine.machine_id} className="stack">
            <div className="row apart">
              <Foreign text={machineName(machine)} />
              <span className="row">
                {it?.size_bytes != null && <span className="soft small">{bytes(it.size_bytes)}</span>}
                {it ? (
                  <Badge tone={it.state === "held" ? "good" : it.state === "failed" ? "bad" : "busy"}>
                    {word("held", it.state)}
                  </Badge>
                ) : (
                  <span className="soft small">{t("held.none")}</span>
                )}
                {(!it || it.state === "failed") && (
                  <Button
                    small
                    icon="download"
                    why={isAdmin ? undefined : t("held.admins")}
                    onClick={() => fetchAhead(machine.machine_id)}
                  >
                    {t("held.fetch")}
                  </Button>
                )}
              </span>
            </div>
            {it?.pull && <Pull pull={it.pull} />}
            {it?.message && (
              <span className="soft small">
                <Foreign text={it.message} />
              </span>
            )}
          </li>
        );
      })}
    </ul>
  );
}
