/** The files in a container: looked through, taken out, put in. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { type DragEvent, useRef, useState } from "react";
import { useSearchParams } from "react-router";
import { api, type Container, call, done, type FileView } from "../../api/client";
import { type Progress, upload } from "../../api/upload";
import { shellWord } from "../../format";
import { useText } from "../../i18n";
import { Button, Card, Foreign, Meter, Notice, Skeleton, Trouble, When } from "../../parts/basic";
import { CommandLine } from "../../parts/command";
import { Confirm } from "../../parts/dialog";
import { TextField } from "../../parts/field";
import { Icon } from "../../parts/icons";
import { useComplaint, useToast } from "../../parts/toasts";

const PAGE = 500;
const inside = (folder: string, name: string) => `${folder === "/" ? "" : folder}/${name}`;
const above = (folder: string) => folder.slice(0, folder.lastIndexOf("/")) || "/";

export function Files({ container }: { container: Container }) {
  const { t, bytes } = useText();
  const toast = useToast();
  const complain = useComplaint();
  const client = useQueryClient();
  const [search, setSearch] = useSearchParams();
  const path = search.get("path") || "/";
  const id = String(container.id);
  const base = `/api/v1/containers/${id}/files`;
  const folder = useQuery({
    queryKey: ["container", id, "files", path],
    queryFn: () =>
      call(api.GET("/api/v1/containers/{id}/files", { params: { path: { id }, query: { path, limit: PAGE } } })),
    staleTime: 2000,
  });
  const [isOver, setOver] = useState(false);
  const [going, setGoing] = useState<{ name: string; progress: Progress; stop: AbortController }>();
  const [removing, setRemoving] = useState<FileView>();
  const [isMaking, setMaking] = useState(false);
  const picker = useRef<HTMLInputElement>(null);

  const refresh = () => client.invalidateQueries({ queryKey: ["container", id, "files"] });
  const go = (path: string) => setSearch({ path });
  const content = (name: string) => `${base}/content?${new URLSearchParams({ path: inside(path, name) })}`;

  const send = async (files: File[]) => {
    for (const file of files) {
      const stop = new AbortController();
      const show = (progress: Progress) => setGoing({ name: file.name, progress, stop });
      show({ sent: 0, total: file.size, rate: 0 });
      try {
        await upload<FileView>("PUT", content(file.name), file, show, stop.signal);
        toast(t("files.sent", { name: file.name }));
      } catch (error) {
        if (!stop.signal.aborted) complain(error);
      }
    }
    setGoing(undefined);
    refresh();
  };
  const drop = (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    send(Array.from(event.dataTransfer.files));
  };

  return (
    <Card
      flush
      title={<Crumbs path={path} onGo={go} />}
      action={
        <span className="row">
          <CommandLine
            command={`longshore container cp ${shellWord(`${container.name}:${path}`)} .`}
            request={{ method: "GET", path: `${base}?path=${encodeURIComponent(path)}` }}
          />
          <Button small icon="folder" onClick={() => setMaking(true)}>
            {t("files.mkdir")}
          </Button>
          <Button small kind="main" icon="upload" onClick={() => picker.current?.click()}>
            {t("files.choose")}
          </Button>
        </span>
      }
    >
      <input
        ref={picker}
        type="file"
        multiple
        hidden
        aria-label={t("files.choose")}
        onChange={(event) => {
          send(Array.from(event.target.files ?? []));
          event.target.value = "";
        }}
      />
      {/* biome-ignore lint/a11y/noStaticElementInteractions: dropping is for mice; the button above is for everybody */}
      <div
        className={isOver ? "files over" : "files"}
        onDragOver={(event) => {
          event.preventDefault();
          setOver(true);
        }}
        onDragLeave={() => setOver(false)}
        onDrop={drop}
      >
        {going && (
          <div className="card-body stack" role="status">
            <div className="row apart">
              <span>
                <Foreign text={going.name} /> · {bytes(going.progress.sent)} / {bytes(going.progress.total)} ·{" "}
                {bytes(going.progress.rate)}/s
              </span>
              <Button small onClick={() => going.stop.abort()}>
                {t("act.cancel")}
              </Button>
            </div>
            <Meter parts={[{ value: going.progress.sent }]} total={going.progress.total} label={t("upload.sending")} />
          </div>
        )}
        {folder.isPending && <Skeleton />}
        {folder.error && <Trouble error={folder.error} onRetry={folder.refetch} />}
        {folder.data && (!folder.data.is_complete || folder.data.total > folder.data.data.length) && (
          <Notice tone="warn" title={t("files.partial")} />
        )}
        {folder.data && (
          <table className="table stacking" aria-label={path}>
            <thead>
              <tr>
                <th scope="col">{t("field.name")}</th>
                <th scope="col" className="num wide-only">
                  {t("field.size")}
                </th>
                <th scope="col" className="wide-only">
                  {t("files.changed")}
                </th>
                <th scope="col">
                  <span className="visually-hidden">{t("table.actions")}</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {path !== "/" && (
                <tr>
                  <td colSpan={4}>
                    <Button small kind="quiet" icon="up" onClick={() => go(above(path))}>
                      {t("files.up")}
                    </Button>
                  </td>
                </tr>
              )}
              {folder.data.data.map((it) => (
                <tr key={it.name}>
                  <td className="name">
                    <span className="row">
                      <Icon name={it.kind === "folder" ? "folder" : it.kind === "link" ? "link" : "file"} size={16} />
                      {it.kind === "folder" || it.kind === "link" ? (
                        <button type="button" className="as-link" onClick={() => go(inside(path, it.name))}>
                          <Foreign text={it.name} />
                        </button>
                      ) : (
                        <a href={content(it.name)} download={it.name}>
                          <Foreign text={it.name} />
                        </a>
                      )}
                      {it.target && (
                        <span className="soft small">
                          → <Foreign text={it.target} />
                        </span>
                      )}
                    </span>
                  </td>
                  <td className="num wide-only">{it.kind === "file" ? bytes(it.size_bytes) : ""}</td>
                  <td className="wide-only">{it.modified_at && <When at={it.modified_at} />}</td>
                  <td className="acts">
                    <a
                      className="button small quiet"
                      href={content(it.name)}
                      download
                      aria-label={`${t("act.download")} ${it.name}`}
                      title={t("act.download")}
                    >
                      <Icon name="download" size={15} />
                    </a>
                    <Button
                      small
                      kind="quiet"
                      icon="trash"
                      label={`${t("act.delete")} ${it.name}`}
                      why={container.state === "running" ? undefined : t("container.not_running")}
                      onClick={() => setRemoving(it)}
                    />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
        {folder.data?.total === 0 && <p className="table-none soft">{t("files.empty")}</p>}
        <p className="table-none soft small mouse-only">{t("files.drop", { path })}</p>
      </div>
      {removing && (
        <Confirm
          title={t("files.delete", { name: removing.name })}
          act={t("act.delete")}
          command={`longshore container file delete ${shellWord(container.name)} ${shellWord(inside(path, removing.name))}${removing.kind === "folder" ? " --recursive" : ""}`}
          danger
          onClose={() => setRemoving(undefined)}
          onAct={async () => {
            await done(
              api.DELETE("/api/v1/containers/{id}/files", {
                params: {
                  path: { id },
                  query: { path: inside(path, removing.name), recursive: removing.kind === "folder" },
                },
              }),
            );
            refresh();
          }}
        >
          <p>{t("files.delete_note")}</p>
        </Confirm>
      )}
      {isMaking && (
        <NewFolder
          command={(name) =>
            `longshore container file mkdir ${shellWord(container.name)} ${shellWord(inside(path, name))}`
          }
          onClose={() => setMaking(false)}
          onMake={async (name) => {
            await done(
              api.POST("/api/v1/containers/{id}/files/folders", {
                params: { path: { id }, query: { path: inside(path, name) } },
              }),
            );
            refresh();
          }}
        />
      )}
    </Card>
  );
}

function Crumbs({ path, onGo }: { path: string; onGo: (path: string) => void }) {
  const { t } = useText();
  const parts = path.split("/").filter(Boolean);
  return (
    <nav className="row" aria-label={t("files.path")}>
      <button type="button" className="as-link mono" onClick={() => onGo("/")}>
        /
      </button>
      {parts.map((part, index) => (
        <button
          // biome-ignore lint/suspicious/noArrayIndexKey: a path may have the same name twice
          key={index}
          type="button"
          className="as-link mono"
          onClick={() => onGo(`/${parts.slice(0, index + 1).join("/")}`)}
        >
          <Foreign text={`${part}/`} />
        </button>
      ))}
    </nav>
  );
}

function NewFolder({
  command,
  onClose,
  onMake,
}: {
  command: (name: string) => string;
  onClose: () => void;
  onMake: (name: string) => Promise<void>;
}) {
  const { t } = useText();
  const [name, setName] = useState("");
  return (
    <Confirm
      title={t("files.mkdir")}
      act={t("files.mkdir")}
      command={command(name || "NAME")}
      onClose={onClose}
      why={name && !name.includes("/") ? undefined : t("files.mkdir_name")}
      onAct={() => onMake(name)}
    >
      <TextField label={t("files.mkdir_name")} value={name} onChange={setName} />
    </Confirm>
  );
}
