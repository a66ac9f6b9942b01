/** What a container printed, and prints. */
import { useEffect, useState } from "react";
import type { Container } from "../../api/client";
import { follow, type Link } from "../../api/stream";
import { useText } from "../../i18n";
import { LinkWords } from "../../log/link";
import { LogModel } from "../../log/model";
import { LogView } from "../../log/view";
import { CheckField } from "../../parts/field";

/** Lines that are read at first; the rest can be downloaded. */
const TAIL = 5000;

export function ContainerLog({ container }: { container: Container }) {
  const { t } = useText();
  const [model] = useState(() => new LogModel());
  const [link, setLink] = useState<Link>({ state: "connecting" });
  const [withTimes, setWithTimes] = useState(false);
  const { id, state_since } = container;
  const isRunning = container.state === "running";

  // biome-ignore lint/correctness/useExhaustiveDependencies: a container that was started again has a new log
  useEffect(() => {
    const over = new AbortController();
    let isNew = true;
    follow(
      {
        url: () => `/api/v1/containers/${id}/log?follow=true&tail=${TAIL}${withTimes ? "&timestamps=true" : ""}`,
        last: "end",
        onLink: (link) => {
          // Each connection tells the log from its beginning.
          if (link.state === "open") isNew = true;
          setLink(link);
        },
        onEvent: ({ name, data }) => {
          if (name !== "log") return;
          if (isNew) model.clear();
          isNew = false;
          const { source, text }: { source: string; text: string } = JSON.parse(data);
          model.push(text, source === "err");
        },
      },
      over.signal,
    );
    return () => over.abort();
  }, [id, model, withTimes, isRunning && state_since]);

  return (
    <LogView
      model={model}
      label={t("container.log")}
      empty={isRunning ? t("log.waiting") : t("log.nothing")}
      hasFailed={container.state === "failed"}
      hasEnded={link.state === "ended"}
      status={<LinkWords link={link} />}
      tools={
        <>
          <CheckField label={t("log.times")} checked={withTimes} onChange={setWithTimes} />
          <a className="button small" href={`/api/v1/containers/${id}/log?download=true`} download>
            {t("act.download")}
          </a>
        </>
      }
    />
  );
}
