/** From a folder or a zip to an image: dropped here, sent with its progress, built with a live log. */
import { useQueryClient } from "@tanstack/react-query";
import { type DragEvent, type FormEvent, useEffect, useRef, useState } from "react";
import { useNavigate } from "react-router";
import type { Build } from "../../api/client";
import { type Progress, upload } from "../../api/upload";
import { shellWord } from "../../format";
import { useText } from "../../i18n";
import { Button, Card, Meter, Notice, PageHead, Trouble, useNow } from "../../parts/basic";
import { Code } from "../../parts/code";
import { CommandLine } from "../../parts/command";
import { TextField } from "../../parts/field";
import { Icon } from "../../parts/icons";
import { paths } from "../../paths";
import { type Chosen, fromDrop, fromFolder, imageName, isArchive } from "../../upload/drop";
import { tar } from "../../upload/tar";

const EXAMPLE = `FROM python:3.12-slim
COPY . /app
WORKDIR /app
EXPOSE 8000
CMD ["python3", "-m", "http.server", "8000"]`;

const NAME = /^(?:[a-z0-9]{1,31}\/)?[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?$/;

export function Upload() {
  const { t, bytes, number, span } = useText();
  const navigate = useNavigate();
  const client = useQueryClient();
  const [chosen, setChosen] = useState<Chosen>();
  const [name, setName] = useState("");
  const [dockerfile, setDockerfile] = useState("");
  const [isOver, setOver] = useState(false);
  const [progress, setProgress] = useState<Progress>();
  const [error, setError] = useState<unknown>();
  const [refused, setRefused] = useState("");
  const going = useRef<AbortController>(undefined);
  const folder = useRef<HTMLInputElement>(null);
  const file = useRef<HTMLInputElement>(null);
  const now = useNow(1000);

  useEffect(() => {
    // Browsers know choosing folders only by this name.
    folder.current?.setAttribute("webkitdirectory", "");
    return () => going.current?.abort();
  }, []);

  const choose = (chosen: Chosen | undefined) => {
    setError(undefined);
    if (!chosen) {
      setRefused(t("upload.neither"));
      return;
    }
    const path = dockerfile || "Dockerfile";
    setRefused(
      chosen.files && !chosen.files.some((it) => it.path === path || it.path.split("/").slice(1).join("/") === path)
        ? t("upload.no_dockerfile")
        : "",
    );
    setChosen(chosen);
    setName((name) => name || imageName(chosen.name));
  };

  const drop = async (event: DragEvent) => {
    event.preventDefault();
    setOver(false);
    choose(await fromDrop(event.dataTransfer));
  };

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (!chosen || progress || wrongName) return;
    setError(undefined);
    const body = chosen.archive ?? tar(chosen.files ?? []);
    const query = new URLSearchParams({ image: name, ...(dockerfile ? { dockerfile } : {}) });
    const controller = new AbortController();
    going.current = controller;
    setProgress({ sent: 0, total: body.size, rate: 0 });
    try {
      const build = await upload<Build>("POST", `/api/v1/builds?${query}`, body, setProgress, controller.signal);
      client.setQueryData(["build", build.id], build);
      navigate(paths.build(build.id));
    } catch (error) {
      if (!controller.signal.aborted) setError(error);
    } finally {
      setProgress(undefined);
    }
  };

  const wrongName = name !== "" && !NAME.test(name) ? t("upload.name_rule") : undefined;
  const size = chosen?.archive?.size ?? chosen?.files?.reduce((sum, it) => sum + it.file.size, 0) ?? 0;
  const why = !chosen ? t("upload.choose_first") : (wrongName ?? (name ? undefined : t("upload.name_first")));

  return (
    <>
      <PageHead title={t("upload.title")} note={t("upload.note")} crumb={{ to: paths.images, name: t("nav.images") }}>
        <CommandLine
          command={`longshore image upload ${shellWord(chosen?.name || "./my-app")} --name ${shellWord(name || "my-app:v1")}`}
          request={{ method: "POST", path: `/api/v1/builds?image=${encodeURIComponent(name || "my-app:v1")}` }}
        />
      </PageHead>
      <Card>
        <form className="form" onSubmit={submit}>
          {/* biome-ignore lint/a11y/noStaticElementInteractions: dropping is for mice; the buttons inside are for everybody */}
          <div
            className={`drop${isOver ? " over" : ""}`}
            onDragOver={(event) => {
              event.preventDefault();
              setOver(true);
            }}
            onDragLeave={() => setOver(false)}
            onDrop={drop}
          >
            <Icon name={chosen ? "check" : "cloud"} size={40} />
            {chosen ? (
              <strong>
                {chosen.name || t("upload.files")} ·{" "}
                {chosen.files ? t("upload.count", { count: number(chosen.files.length) }) : t("upload.archive")} ·{" "}
                {bytes(size)}
              </strong>
            ) : (
              <strong>{t("upload.drop")}</strong>
            )}
            <span>{t(chosen?.files && !refused ? "upload.has_dockerfile" : "upload.drop_note")}</span>
            <div className="row">
              <Button icon="folder" onClick={() => folder.current?.click()}>
                {t("upload.choose_folder")}
              </Button>
              <Button icon="file" onClick={() => file.current?.click()}>
                {t("upload.choose_zip")}
              </Button>
            </div>
            <input
              ref={folder}
              type="file"
              hidden
              aria-label={t("upload.choose_folder")}
              onChange={(event) => event.target.files && choose(fromFolder(event.target.files))}
            />
            <input
              ref={file}
              type="file"
              hidden
              accept=".zip,.tar,.tgz,.gz"
              aria-label={t("upload.choose_zip")}
              onChange={(event) => {
                const picked = event.target.files?.[0];
                if (picked)
                  choose(
                    isArchive(picked.name)
                      ? { name: picked.name.replace(/\.(zip|tar|tar\.gz|tgz)$/i, ""), archive: picked }
                      : undefined,
                  );
              }}
            />
          </div>
          {refused && <Notice tone="warn" title={refused} />}
          <TextField
            label={t("field.image_name")}
            value={name}
            onChange={setName}
            wrong={wrongName}
            note={t("upload.name_note")}
            placeholder="my-app:v1"
            autoCapitalize="none"
            spellCheck={false}
          />
          <details>
            <summary>{t("create.more")}</summary>
            <TextField
              label="Dockerfile"
              value={dockerfile}
              onChange={setDockerfile}
              placeholder="Dockerfile"
              note={t("upload.dockerfile_note")}
              spellCheck={false}
            />
          </details>
          {error !== undefined && <Trouble error={error} />}
          {progress && (
            <div className="stack" role="status">
              <Meter parts={[{ value: progress.sent }]} total={progress.total} label={t("upload.sending")} />
              <span className="soft">
                {progress.retryAt
                  ? t("upload.retry", { seconds: Math.max(1, Math.ceil((progress.retryAt - now) / 1000)) })
                  : t("upload.progress", {
                      sent: bytes(progress.sent),
                      total: bytes(progress.total),
                      rate: bytes(progress.rate),
                      left: progress.rate > 0 ? span((progress.total - progress.sent) / progress.rate) : "…",
                    })}
              </span>
            </div>
          )}
          <div className="row">
            <Button type="submit" kind="main" icon="upload" why={why} busy={progress !== undefined}>
              {t("upload.begin")}
            </Button>
            {progress && <Button onClick={() => going.current?.abort()}>{t("act.cancel")}</Button>}
          </div>
        </form>
      </Card>
      <Card title={t("upload.help")}>
        <div className="stack">
          <p className="soft">{t("upload.help_note")}</p>
          <Code text={EXAMPLE} label="Dockerfile" />
        </div>
      </Card>
    </>
  );
}
