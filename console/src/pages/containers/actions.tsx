/** What can be done with a container, in lists and on its own page. */
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { api, type Container, call } from "../../api/client";
import { shellWord } from "../../format";
import { useText } from "../../i18n";
import { Button } from "../../parts/basic";
import { Confirm } from "../../parts/dialog";
import { useComplaint } from "../../parts/toasts";
import { canStart, canStop } from "../../states";
import { EditDialog } from "./edit";
import { SaveDialog } from "./save";

export function ContainerActions({
  container,
  small,
  onDeleted,
}: {
  container: Container;
  small?: boolean;
  onDeleted?: () => void;
}) {
  const { t } = useText();
  const complain = useComplaint();
  const client = useQueryClient();
  const [isBusy, setBusy] = useState(false);
  const [isDeleting, setDeleting] = useState(false);
  const [open, setOpen] = useState<"save" | "edit">();
  const path = { params: { path: { id: String(container.id) } } };

  const act = async (request: () => Promise<Container>) => {
    setBusy(true);
    try {
      client.setQueryData(["container", String(container.id)], await request());
      client.invalidateQueries({ queryKey: ["containers"] });
    } catch (error) {
      complain(error);
    } finally {
      setBusy(false);
    }
  };
  const isGoing = container.state === "deleting" ? t("state.deleting") : undefined;
  return (
    <>
      {canStart(container) ? (
        <Button
          small={small}
          icon="play"
          busy={isBusy}
          why={isGoing}
          onClick={() => act(() => call(api.POST("/api/v1/containers/{id}/start", path)))}
        >
          {t("act.start")}
        </Button>
      ) : (
        <Button
          small={small}
          icon="stop"
          busy={isBusy}
          why={isGoing ?? (canStop(container) ? undefined : t("container.cannot_stop"))}
          onClick={() => act(() => call(api.POST("/api/v1/containers/{id}/stop", path)))}
        >
          {t("act.stop")}
        </Button>
      )}
      {!small && (
        <>
          <Button onClick={() => setOpen("edit")} why={isGoing}>
            {t("act.edit")}
          </Button>
          <Button icon="images" onClick={() => setOpen("save")} why={isGoing}>
            {t("save.begin")}
          </Button>
        </>
      )}
      {!small && (
        <Button
          icon="restart"
          busy={isBusy}
          why={isGoing ?? (container.state === "running" ? undefined : t("container.not_running"))}
          onClick={() => act(() => call(api.POST("/api/v1/containers/{id}/restart", path)))}
        >
          {t("act.restart")}
        </Button>
      )}
      <Button
        small={small}
        icon="trash"
        kind={small ? "quiet" : "danger"}
        why={isGoing}
        label={small ? t("act.delete") : undefined}
        onClick={() => setDeleting(true)}
      >
        {small ? null : t("act.delete")}
      </Button>
      {open === "save" && <SaveDialog container={container} onClose={() => setOpen(undefined)} />}
      {open === "edit" && <EditDialog container={container} onClose={() => setOpen(undefined)} />}
      {isDeleting && (
        <Confirm
          title={t("container.delete", { name: container.display_name || container.name })}
          act={t("act.delete")}
          command={`longshore container delete ${shellWord(container.name)}`}
          danger
          onClose={() => setDeleting(false)}
          onAct={async () => {
            client.setQueryData(
              ["container", String(container.id)],
              await call(api.DELETE("/api/v1/containers/{id}", path)),
            );
            client.invalidateQueries({ queryKey: ["containers"] });
            onDeleted?.();
          }}
        >
          <p>{t("container.delete_note")}</p>
        </Confirm>
      )}
    </>
  );
}
