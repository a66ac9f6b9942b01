/** Machines: what they have, whether they are there, and how to add one. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, call, done, type Machine, type Schemas } from "../../api/client";
import { queries } from "../../api/queries";
import { shellWord } from "../../format";
import { useText } from "../../i18n";
import {
  Badge,
  Button,
  Card,
  Empty,
  Foreign,
  Meter,
  Notice,
  PageHead,
  Skeleton,
  Trouble,
  When,
} from "../../parts/basic";
import { Code } from "../../parts/code";
import { CommandLine } from "../../parts/command";
import { Confirm, Dialog } from "../../parts/dialog";
import { TextField } from "../../parts/field";
import { GpuTile } from "../../parts/gpus";
import { Lost } from "../../parts/lost";
import { useComplaint, useToast } from "../../parts/toasts";
import { paths } from "../../paths";
import { useIsAdmin } from "../../shell/session";
import { isLoopback, machineName, machineTone } from "../../states";

export function Machines() {
  const { t } = useText();
  const isAdmin = useIsAdmin();
  const machines = useQuery(queries.machines());
  const gpus = useQuery(queries.gpus());
  const [isAdding, setAdding] = useState(false);
  return (
    <>
      <PageHead title={t("nav.machines")} note={t("machine.note")}>
        <CommandLine
          command="longshore machine list"
          request={{ method: "GET", path: "/api/v1/machines" }}
          also={
            isAdmin ? ["longshore machine resume ID", "longshore machine release ID", "longshore machine invites"] : []
          }
        />
        <Button
          kind="main"
          icon="plus"
          why={isAdmin ? undefined : t("machine.admins_add")}
          onClick={() => setAdding(true)}
        >
          {t("machine.add")}
        </Button>
      </PageHead>
      {machines.isPending && <Skeleton />}
      {machines.error && <Trouble error={machines.error} onRetry={machines.refetch} />}
      {machines.data?.total === 0 && (
        <Card>
          <Empty icon="machines" title={t("machine.empty")}>
            {t("machine.empty_note")}
          </Empty>
        </Card>
      )}
      {machines.data?.data.map((machine) => (
        <MachineCard key={machine.machine_id} machine={machine}>
          {gpus.data?.data.some((gpu) => gpu.machine_id === machine.machine_id) && (
            <div className="tiles">
              {gpus.data.data
                .filter((gpu) => gpu.machine_id === machine.machine_id)
                .map((gpu) => (
                  <GpuTile key={gpu.key} gpu={gpu} />
                ))}
            </div>
          )}
        </MachineCard>
      ))}
      {isAdmin && <Invites />}
      {isAdding && <AddMachine onClose={() => setAdding(false)} />}
    </>
  );
}

function MachineCard({ machine: it, children }: { machine: Machine; children: React.ReactNode }) {
  const { t, word, bytes } = useText();
  const isAdmin = useIsAdmin();
  const [open, setOpen] = useState<"drain" | "label" | "delete">();
  const toast = useToast();
  const complain = useComplaint();
  const client = useQueryClient();
  const cpus = Object.values(it.cpu);
  const cores = cpus.reduce((sum, cpu) => sum + cpu.cores, 0);
  const path = { params: { path: { id: it.machine_id } } };
  const update = async (body: Schemas["MachineUpdate"]) => {
    await call(api.PATCH("/api/v1/machines/{id}", { ...path, body }));
    client.invalidateQueries({ queryKey: ["machines"] });
  };
  const used = (capacity: Machine["memory"]) => capacity.total - capacity.free;
  const MIB = 1024 ** 2;
  const GIB = 1024 ** 3;
  return (
    <Card
      title={
        <span className="row">
          <Foreign text={machineName(it)} />
          <Badge tone={machineTone(it.state)}>{word("machine", it.state)}</Badge>
          {it.drained_at && <Badge tone="warn">{t("machine.drained")}</Badge>}
        </span>
      }
      action={
        isAdmin && (
          <span className="row">
            {it.quarantine_reason && (
              <Button
                small
                onClick={() =>
                  done(api.POST("/api/v1/machines/{id}/release", path)).then(
                    () => client.invalidateQueries({ queryKey: ["machines"] }),
                    complain,
                  )
                }
              >
                {t("machine.release")}
              </Button>
            )}
            {it.drained_at ? (
              <Button small icon="play" onClick={() => update({ is_drained: false }).catch(complain)}>
                {t("machine.resume")}
              </Button>
            ) : (
              <Button small onClick={() => setOpen("drain")}>
                {t("machine.drain")}
              </Button>
            )}
            <Button small kind="quiet" icon="tag" label={t("machine.label")} onClick={() => setOpen("label")} />
            <Button small kind="quiet" icon="trash" label={t("act.delete")} onClick={() => setOpen("delete")} />
          </span>
        )
      }
    >
      <div className="stack">
        {it.quarantine_reason && (
          <Notice tone="warn" title={t("machine.quarantined")}>
            <Foreign text={it.quarantine_reason} />
          </Notice>
        )}
        {it.drain_reason && (
          <p className="soft">
            <Foreign text={it.drain_reason} />
          </p>
        )}
        <div className="form-row">
          <div>
            <div className="soft small">CPU</div>
            <strong>{t("machine.cores", { cores })}</strong> <span className="soft small">{cpus[0]?.type}</span>
          </div>
          <div>
            <div className="soft small">{t("create.memory")}</div>
            <Meter
              parts={[{ value: used(it.memory) }]}
              total={it.memory.total}
              label={t("machine.used", { used: bytes(used(it.memory) * MIB), total: bytes(it.memory.total * MIB) })}
            />
            <span className="small">
              {t("machine.used", { used: bytes(used(it.memory) * MIB), total: bytes(it.memory.total * MIB) })}
            </span>
          </div>
          <div>
            <div className="soft small">{t("machine.disk")}</div>
            <Meter
              parts={[{ value: used(it.disk), kind: it.disk.free * 10 < it.disk.total ? "bad" : undefined }]}
              total={it.disk.total}
              label={t("machine.used", { used: bytes(used(it.disk) * GIB), total: bytes(it.disk.total * GIB) })}
            />
            <span className="small">
              {t("machine.used", { used: bytes(used(it.disk) * GIB), total: bytes(it.disk.total * GIB) })}
            </span>
          </div>
        </div>
        {children}
        <p className="soft small wrap">
          {it.label ? `${it.hostname} · ` : ""}
          {it.ip} · {it.os} · Docker {it.engine_version ?? "–"} · agent {it.agent_version} · {t("field.since")}{" "}
          <When at={it.state_since} />
        </p>
      </div>
      {open === "drain" && (
        <DrainDialog
          machine={it}
          onClose={() => setOpen(undefined)}
          onDrain={(reason) => update({ is_drained: true, reason })}
        />
      )}
      {open === "label" && (
        <LabelDialog machine={it} onClose={() => setOpen(undefined)} onLabel={(label) => update({ label })} />
      )}
      {open === "delete" && (
        <Confirm
          title={t("machine.delete", { name: it.hostname })}
          act={t("act.delete")}
          command={`longshore machine delete ${shellWord(it.machine_id)}`}
          danger
          onClose={() => setOpen(undefined)}
          onAct={async () => {
            const { stays } = await call(api.DELETE("/api/v1/machines/{id}", path));
            toast(stays);
            client.invalidateQueries({ queryKey: ["machines"] });
          }}
        >
          <p>{t("machine.delete_note")}</p>
          <OnMachine machine={it} />
        </Confirm>
      )}
    </Card>
  );
}

/** The containers that are on a machine: it cannot be removed before they are. */
function OnMachine({ machine }: { machine: Machine }) {
  const { t } = useText();
  const containers = useQuery(queries.containers(true));
  const there = containers.data?.data.filter((it) => it.machine_id === machine.machine_id) ?? [];
  return (
    <Lost
      title={t("machine.delete_first")}
      things={there.map((it) => ({
        name: `${it.account} / ${it.display_name || it.name}`,
        to: paths.container(it.id),
      }))}
    />
  );
}

function DrainDialog({
  machine,
  onClose,
  onDrain,
}: {
  machine: Machine;
  onClose: () => void;
  onDrain: (reason: string) => Promise<void>;
}) {
  const { t } = useText();
  const [reason, setReason] = useState("");
  return (
    <Confirm
      title={t("machine.drain_title", { name: machine.hostname })}
      act={t("machine.drain")}
      command={`longshore machine drain ${shellWord(machine.machine_id)}${reason ? ` --reason ${shellWord(reason)}` : ""}`}
      onClose={onClose}
      onAct={() => onDrain(reason)}
    >
      <p>{t("machine.drain_note")}</p>
      <TextField label={t("machine.reason")} value={reason} onChange={setReason} />
    </Confirm>
  );
}

function LabelDialog({
  machine,
  onClose,
  onLabel,
}: {
  machine: Machine;
  onClose: () => void;
  onLabel: (label: string) => Promise<void>;
}) {
  const { t } = useText();
  const [label, setLabel] = useState(machine.label ?? "");
  return (
    <Confirm
      title={`${t("machine.label")}: ${machine.hostname}`}
      act={t("act.save")}
      command={`longshore machine label ${shellWord(machine.machine_id)} ${shellWord(label || "''")}`}
      onClose={onClose}
      onAct={() => onLabel(label)}
    >
      <TextField
        label={t("machine.label")}
        note={t("machine.label_note")}
        value={label}
        onChange={setLabel}
        maxLength={60}
      />
    </Confirm>
  );
}

/** One line to type on the new machine; the invitation in it is shown once. */
function AddMachine({ onClose }: { onClose: () => void }) {
  const { t, moment } = useText();
  const client = useQueryClient();
  const [hours, setHours] = useState("1");
  const [made, setMade] = useState<{ token: string; url: string; expires_at: string }>();
  if (!made)
    return (
      <Confirm
        title={t("machine.add")}
        act={t("machine.make_line")}
        command={`longshore machine invite --expires-in ${Number(hours) > 0 ? `${Math.round(Number(hours) * 60)}m` : "1h"}`}
        onClose={onClose}
        staysOpen
        why={Number(hours) > 0 ? undefined : t("machine.hours_rule")}
        onAct={async () => {
          setMade(await call(api.POST("/api/v1/invites", { body: { expires_in: Math.round(Number(hours) * 3600) } })));
          client.invalidateQueries({ queryKey: ["invites"] });
        }}
      >
        <p>{t("machine.add_note")}</p>
        <TextField label={t("machine.hours")} value={hours} onChange={setHours} inputMode="decimal" />
      </Confirm>
    );
  return (
    <Dialog title={t("machine.add")} wide onClose={onClose}>
      <p>{t("machine.line_note", { until: moment(made.expires_at) })}</p>
      {isLoopback(new URL(made.url).hostname) && <Notice tone="warn" title={t("machine.line_loopback")} />}
      <Code text={`longshore agent join ${made.url} ${made.token} --service`} label={t("machine.line_service")} />
      <details>
        <summary>{t("machine.without_service")}</summary>
        <Code text={`longshore agent join ${made.url} ${made.token} && longshore agent run`} />
      </details>
      <div className="dialog-acts">
        <Button kind="main" onClick={onClose}>
          {t("act.close")}
        </Button>
      </div>
    </Dialog>
  );
}

function Invites() {
  const { t, moment } = useText();
  const client = useQueryClient();
  const complain = useComplaint();
  const invites = useQuery(queries.invites());
  if (!invites.data || invites.data.total === 0) return null;
  const end = (id: string) =>
    done(api.DELETE("/api/v1/invites/{id}", { params: { path: { id } } })).then(
      () => client.invalidateQueries({ queryKey: ["invites"] }),
      complain,
    );
  return (
    <Card title={t("machine.invites")} flush>
      <ul className="lines">
        {invites.data.data.map((it) => (
          <li key={it.id} className="row apart">
            <span>{t("machine.invite_until", { until: moment(it.expires_at) })}</span>
            <Button small kind="danger" onClick={() => end(it.id)}>
              {t("machine.uninvite")}
            </Button>
          </li>
        ))}
      </ul>
    </Card>
  );
}
