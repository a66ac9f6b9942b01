/** What runs are rolled out to, with the way to it. */
import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import type { Schemas } from "../../api/client";
import { queries } from "../../api/queries";
import { Foreign } from "../../parts/basic";
import { paths } from "../../paths";
import { aimedAt, aimWords } from "./aim";

export function AimLink({ target, account }: { target: Schemas["DeployTarget"]; account: string }) {
  const workloads = useQuery({ ...queries.workloads(), enabled: Boolean(target.workload) });
  const containers = useQuery({ ...queries.containers(), enabled: Boolean(target.container) });
  const workload = aimedAt(target, account, workloads.data?.data ?? []);
  const container = containers.data?.data.find((it) => it.name === target.container && it.account === account);
  const to = workload ? paths.workload(workload.id) : container && paths.container(container.id);
  const words = <Foreign text={aimWords(target)} />;
  return to ? <Link to={to}>{words}</Link> : words;
}
