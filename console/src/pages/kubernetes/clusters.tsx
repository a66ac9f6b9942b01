/** The clusters with their nodes; admins add, renew and remove them. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, call, done, type Schemas } from "../../api/client";
import { queries } from "../../api/queries";
import { shellWord } from "../../format";
import { useText } from "../../i18n";
import { Badge, Button, Card, Foreign, Notice, Skeleton, Trouble } from "../../parts/basic";
import { Code } from "../../parts/code";
import { Confirm } from "../../parts/dialog";
import { AreaField, CheckField, TextField } from "../../parts/field";
import { useComplaint } from "../../parts/toasts";
import { useIsAdmin } from "../../shell/session";

type Cluster = Schemas["ClusterView"];

export function Clusters() {
  const { t, word, bytes, cores } = useText();
  const isAdmin = useIsAdmin();
  const client = useQueryClient();
  const complain = useComplaint();
  const clusters = useQuery(queries.clusters());
  const nodes = useQuery(queries.nodes());
  const [open, setOpen] = useState<{ what: "add" } | { what: "renew" | "remove"; cluster: Cluster }>();
  const refresh = () => {
    for (const key of ["clusters", "nodes"]) client.invalidateQueries({ queryKey: [key] });
  };
  const prefer = ({ name }: Cluster) =>
    call(api.PATCH("/api/v1/clusters/{name}", { params: { path: { name } }, body: { is_default: true } })).then(
      refresh,
      complain,
    );
  return (
    <Card
      title={t("kube.clusters")}
      flush
      action={
        isAdmin && (
          <Button small icon="plus" onClick={() => setOpen({ what: "add" })}>
            {t("cluster.add")}
          </Button>
        )
      }
    >
      {clusters.isPending && <Skeleton rows={2} />}
      {clusters.error && <Trouble error={clusters.error} onRetry={clusters.refetch} />}
      {clusters.data?.total === 0 && (
        <p className="card-body soft">{isAdmin ? t("cluster.first") : t("kube.no_clusters")}</p>
      )}
      {clusters.data?.data.map((it) => (
        <div key={it.id} className="card-body stack">
          <div className="row apart">
            <strong>{it.name}</strong>
            <span className="row">
              {it.is_default && <span className="soft small">{t("cluster.default")}</span>}
              <Badge tone={it.state === "ready" ? "good" : "bad"}>{word("cluster", it.state)}</Badge>
            </span>
          </div>
          {it.message && <Notice tone="warn" title={<Foreign text={it.message} />} />}
          {(it.version || it.server) && (
            <p className="soft small wrap">
              <Foreign text={[it.version && `Kubernetes ${it.version}`, it.server].filter(Boolean).join(" · ")} />
            </p>
          )}
          <ul className="small">
            {nodes.data
              ?.filter((node) => node.cluster === it.name)
              .map((node) => (
                <li key={node.name} className="row apart">
                  <span>
                    <Foreign text={node.name} /> <span className="soft">{node.status}</span>
                  </span>
                  <span className="soft">
                    {t("machine.cores", { cores: cores(node.cpu_millis) })} · {bytes(node.memory_bytes)}
                  </span>
                </li>
              ))}
          </ul>
          {isAdmin && (
            <div className="row">
              {!it.is_default && (
                <Button small onClick={() => prefer(it)}>
                  {t("cluster.make_default")}
                </Button>
              )}
              <Button small onClick={() => setOpen({ what: "renew", cluster: it })}>
                {t("cluster.renew")}
              </Button>
              <Button small kind="danger" icon="trash" onClick={() => setOpen({ what: "remove", cluster: it })}>
                {t("act.delete")}
              </Button>
            </div>
          )}
        </div>
      ))}
      {open?.what === "add" && <ClusterDialog onClose={() => setOpen(undefined)} onDone={refresh} />}
      {open?.what === "renew" && (
        <ClusterDialog cluster={open.cluster} onClose={() => setOpen(undefined)} onDone={refresh} />
      )}
      {open?.what === "remove" && (
        <Confirm
          title={t("cluster.remove", { name: open.cluster.name })}
          act={t("act.delete")}
          command={`longshore cluster remove ${shellWord(open.cluster.name)}`}
          danger
          onClose={() => setOpen(undefined)}
          onAct={async () => {
            const params = { path: { name: open.cluster.name } };
            await done(api.DELETE("/api/v1/clusters/{name}", { params }));
            refresh();
          }}
        >
          <p>{t("cluster.remove_note")}</p>
        </Confirm>
      )}
    </Card>
  );
}

/** Another cluster, or other credentials for one. */
function ClusterDialog({ cluster, onClose, onDone }: { cluster?: Cluster; onClose: () => void; onDone: () => void }) {
  const { t } = useText();
  const [name, setName] = useState("");
  const [kubeconfig, setKubeconfig] = useState("");
  const [context, setContext] = useState("");
  const [isHere, setHere] = useState(false);
  const read = async (file: File | undefined) => {
    if (file) setKubeconfig(await file.text());
  };
  const isGiven = isHere || kubeconfig.trim() !== "";
  return (
    <Confirm
      title={cluster ? `${t("cluster.renew")}: ${cluster.name}` : t("cluster.add")}
      act={cluster ? t("act.save") : t("cluster.add")}
      command={`longshore cluster ${cluster ? "renew" : "add"} ${shellWord(cluster?.name ?? (name.trim() || "NAME"))} ${isHere ? "--in-cluster" : "--kubeconfig FILE"}`}
      why={isGiven && (cluster || name.trim()) ? undefined : t("cluster.fill")}
      onClose={onClose}
      onAct={async () => {
        const given = { kubeconfig, context: context.trim() || null };
        if (cluster) {
          const params = { path: { name: cluster.name } };
          await call(api.PATCH("/api/v1/clusters/{name}", { params, body: given }));
        } else {
          const where = isHere ? { in_cluster: true } : given;
          await call(api.POST("/api/v1/clusters", { body: { name: name.trim(), ...where } }));
        }
        onDone();
      }}
    >
      <p className="soft">{t("cluster.note")}</p>
      <Code text="longshore cluster role | kubectl apply -f -" />
      {!cluster && (
        <TextField
          label={t("field.name")}
          value={name}
          onChange={setName}
          placeholder="lab"
          spellCheck={false}
          autoCapitalize="none"
          required
        />
      )}
      {!cluster && <CheckField label={t("cluster.here")} checked={isHere} onChange={setHere} />}
      {!isHere && (
        <>
          <label className="field">
            <span className="label">{t("cluster.file")}</span>
            <input className="input" type="file" onChange={(event) => read(event.target.files?.[0])} />
          </label>
          <AreaField
            label="kubeconfig"
            value={kubeconfig}
            onChange={setKubeconfig}
            note={t("cluster.kubeconfig_note")}
            rows={6}
            spellCheck={false}
          />
          <TextField
            label={t("cluster.context")}
            value={context}
            onChange={setContext}
            note={t("cluster.context_note")}
            spellCheck={false}
          />
        </>
      )}
    </Confirm>
  );
}
