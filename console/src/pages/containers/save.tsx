/** Saving a container as an image: first what would be in it, then its name. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useNavigate } from "react-router";
import { api, type Container, call } from "../../api/client";
import { shellWord } from "../../format";
import { useText } from "../../i18n";
import { Foreign, Meter, Notice, Skeleton, Trouble } from "../../parts/basic";
import { Confirm } from "../../parts/dialog";
import { CheckField, TextField } from "../../parts/field";
import { paths } from "../../paths";

export function SaveDialog({ container, onClose }: { container: Container; onClose: () => void }) {
  const { t, bytes, number } = useText();
  const navigate = useNavigate();
  const client = useQueryClient();
  const id = String(container.id);
  const preview = useQuery({
    queryKey: ["container", id, "save"],
    queryFn: () => call(api.GET("/api/v1/containers/{id}/save", { params: { path: { id } } })),
    staleTime: 0,
  });
  const [image, setImage] = useState(`${container.name.replace(/[^a-z0-9._-]+/g, "-")}:v1`);
  const [message, setMessage] = useState("");
  const [pause, setPause] = useState(true);
  const it = preview.data;
  const isTooBig = it !== undefined && it.size_bytes > it.max_bytes;
  return (
    <Confirm
      title={t("save.title", { name: container.display_name || container.name })}
      act={t("save.begin")}
      command={[
        `longshore container save ${shellWord(container.name)} ${shellWord(image.trim() || "IMAGE")}`,
        message.trim() && `--message ${shellWord(message.trim())}`,
        !pause && "--no-pause",
      ]
        .filter(Boolean)
        .join(" ")}
      onClose={onClose}
      why={isTooBig ? t("save.too_big") : image.trim() ? undefined : t("upload.name_first")}
      onAct={async () => {
        const body = { image: image.trim(), message: message.trim() || null, pause };
        const build = await call(api.POST("/api/v1/containers/{id}/save", { params: { path: { id } }, body }));
        client.setQueryData(["build", build.id], build);
        navigate(paths.build(build.id));
      }}
    >
      <p className="soft">{t("save.note")}</p>
      {preview.isPending && <Skeleton rows={3} />}
      {preview.error && <Trouble error={preview.error} onRetry={preview.refetch} />}
      {it && (
        <>
          <div>
            <div className="row apart small">
              <span>{t("save.grows", { size: bytes(it.size_bytes), changes: number(it.changes) })}</span>
              <span className="soft">{t("save.most", { size: bytes(it.max_bytes) })}</span>
            </div>
            <Meter
              parts={[{ value: it.size_bytes, kind: isTooBig ? "bad" : undefined }]}
              total={it.max_bytes}
              label={t("save.grows", { size: bytes(it.size_bytes), changes: number(it.changes) })}
            />
          </div>
          {it.biggest.length > 0 && (
            <ul className="small">
              {it.biggest.slice(0, 5).map((file) => (
                <li key={file.path} className="row apart">
                  <span className="mono wrap">
                    <Foreign text={file.path} />
                  </span>
                  <span className="soft">{bytes(file.size_bytes)}</span>
                </li>
              ))}
            </ul>
          )}
          {it.warnings.map((warning) => (
            <Notice key={warning} tone="warn" title={<Foreign text={warning} />} />
          ))}
        </>
      )}
      <TextField
        label={t("field.image_name")}
        value={image}
        onChange={setImage}
        note={t("upload.name_note")}
        autoCapitalize="none"
        spellCheck={false}
        required
      />
      <TextField label={t("save.message")} value={message} onChange={setMessage} maxLength={500} />
      <CheckField label={t("save.pause")} checked={pause} onChange={setPause} />
    </Confirm>
  );
}
