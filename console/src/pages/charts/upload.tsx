/** A chart of one's own, kept on this server. */
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { useNavigate } from "react-router";
import type { Schemas } from "../../api/client";
import { type Progress, upload } from "../../api/upload";
import { shellWord } from "../../format";
import { useText } from "../../i18n";
import { Meter } from "../../parts/basic";
import { Code } from "../../parts/code";
import { Confirm } from "../../parts/dialog";
import { paths } from "../../paths";
import { useMe } from "../../shell/session";

export function UploadChart({ onClose }: { onClose: () => void }) {
  const { t, bytes } = useText();
  const me = useMe();
  const navigate = useNavigate();
  const client = useQueryClient();
  const [file, setFile] = useState<File>();
  const [progress, setProgress] = useState<Progress>();
  const going = useRef<AbortController>(undefined);
  useEffect(() => () => going.current?.abort(), []);
  return (
    <Confirm
      title={t("chart.upload")}
      act={t("upload.sending")}
      command={`longshore chart upload ${shellWord(file?.name ?? "FILE")}`}
      onClose={onClose}
      why={file ? undefined : t("chart.file_first")}
      onAct={async () => {
        if (!file) return;
        const controller = new AbortController();
        going.current = controller;
        try {
          const kept = await upload<Schemas["ChartView"]>(
            "POST",
            "/api/v1/charts",
            file,
            setProgress,
            controller.signal,
          );
          for (const key of ["charts", "chart", "chart-repos", "chart-repo"])
            client.invalidateQueries({ queryKey: [key] });
          navigate(paths.chart(kept.repo_id, kept.name));
        } finally {
          setProgress(undefined);
        }
      }}
    >
      <p className="soft">{t("chart.upload_note")}</p>
      <label className="field">
        <span className="label">{t("chart.package")}</span>
        <input
          className="input"
          type="file"
          accept=".tgz,.gz,application/gzip"
          onChange={(event) => setFile(event.target.files?.[0])}
        />
      </label>
      {progress && (
        <Meter
          parts={[{ value: progress.sent }]}
          total={progress.total}
          label={`${bytes(progress.sent)} / ${bytes(progress.total)}`}
        />
      )}
      <details>
        <summary>{t("chart.with_helm")}</summary>
        <Code
          text={`helm repo add own ${window.location.origin}/charts/${me.account} --username ${me.account} --password $LONGSHORE_TOKEN`}
        />
      </details>
    </Confirm>
  );
}
