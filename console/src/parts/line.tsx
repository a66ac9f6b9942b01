/** The line of those who wait for GPUs or a machine, first come first. */
import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import { queries } from "../api/queries";
import { useText } from "../i18n";
import { paths } from "../paths";
import { Card, Foreign, Skeleton, Trouble, When } from "./basic";
import { CommandLine } from "./command";

export function Line() {
  const { t, word } = useText();
  const queue = useQuery(queries.queue());
  return (
    <Card
      title={t("queue.title")}
      flush
      action={<CommandLine command="longshore queue list" request={{ method: "GET", path: "/api/v1/queue" }} />}
    >
      {queue.isPending && <Skeleton rows={2} />}
      {queue.error && <Trouble error={queue.error} onRetry={queue.refetch} />}
      {queue.data?.total === 0 && <p className="card-body soft">{t("queue.empty")}</p>}
      <ol className="lines">
        {queue.data?.data.map((it) => (
          <li key={it.position} className="row">
            <strong>{it.position}</strong>
            <div className="grow">
              {it.container_id != null ? (
                <Link to={paths.container(it.container_id)}>
                  <Foreign text={`${it.account ?? ""} / ${it.container ?? it.container_id}`} />
                </Link>
              ) : (
                t("gpu.somebody")
              )}
              <div className="soft small">
                {it.gpus && t("queue.wish", { count: it.gpus.count, model: it.gpus.model ?? "" })}{" "}
                {it.message ? <Foreign text={it.message} /> : it.reason ? word("reason", it.reason) : ""}
              </div>
            </div>
            <span className="soft small">
              <When at={it.since} />
            </span>
          </li>
        ))}
      </ol>
    </Card>
  );
}
