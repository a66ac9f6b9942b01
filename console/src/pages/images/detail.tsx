/** An image: what it is, where it comes from, what was made from it. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useNavigate, useParams } from "react-router";
import { api, call, done, type Image } from "../../api/client";
import { queries } from "../../api/queries";
import { shellWord } from "../../format";
import { useText } from "../../i18n";
import { Button, Card, Foreign, Meter, PageHead, Skeleton, Trouble, When } from "../../parts/basic";
import { Code } from "../../parts/code";
import { CommandLine } from "../../parts/command";
import { Confirm } from "../../parts/dialog";
import { AreaField, TextField } from "../../parts/field";
import { useToast } from "../../parts/toasts";
import { paths } from "../../paths";
import { useIsAdmin, useMe } from "../../shell/session";
import { Dependents, Tree } from "./family";
import { HeldBy } from "./machines";

const TAGS_SHOWN = 20;

export function ImageDetail() {
  const id = Number(useParams().id);
  const { t, bytes } = useText();
  const me = useMe();
  const isAdmin = useIsAdmin();
  const image = useQuery(queries.image(id));
  const [open, setOpen] = useState<"tag" | "publish" | "edit" | "delete">();
  if (image.error) return <Trouble error={image.error} onRetry={image.refetch} />;
  const it = image.data;
  if (!it) return <Skeleton />;
  const foreign = isAdmin || it.owner === me.account ? undefined : t("image.not_yours");
  return (
    <>
      <PageHead
        title={it.name}
        crumb={{ to: paths.images, name: t("nav.images") }}
        note={it.display_name ? <Foreign text={it.display_name} /> : undefined}
      >
        <CommandLine
          command={`longshore image show ${shellWord(it.name)}`}
          request={{ method: "GET", path: `/api/v1/images/${id}` }}
        />
        <Button icon="tag" onClick={() => setOpen("tag")}>
          {t("image.tag")}
        </Button>
        {isAdmin && it.owner !== "public" && <Button onClick={() => setOpen("publish")}>{t("image.publish")}</Button>}
        <Button onClick={() => setOpen("edit")} why={foreign}>
          {t("act.edit")}
        </Button>
        <Button icon="trash" kind="danger" onClick={() => setOpen("delete")} why={foreign}>
          {t("act.delete")}
        </Button>
        <Button kind="main" icon="play" to={paths.containerNew(it.name)}>
          {t("act.run")}
        </Button>
      </PageHead>
      <div className="grid-2">
        <div className="stack">
          <Card title={t("image.about")}>
            <dl className="facts">
              {it.description && (
                <>
                  <dt>{t("field.description")}</dt>
                  <dd>
                    <Foreign text={it.description} />
                  </dd>
                </>
              )}
              <dt>{t("image.source")}</dt>
              <dd>
                {t(`source.${it.source}`)} {it.build_id && <Link to={paths.build(it.build_id)}>{t("build.log")}</Link>}
              </dd>
              <dt>{t("field.created")}</dt>
              <dd>
                <When at={it.created_at} />
              </dd>
              <dt>{t("field.size")}</dt>
              <dd>{bytes(it.size_bytes)}</dd>
              <dt>{t("image.digest")}</dt>
              <dd className="mono">{it.digest}</dd>
            </dl>
          </Card>
          <Card title={t("image.parameters")}>
            <Parameters image={it} />
          </Card>
          <Card title={t("image.layers")}>
            <Layers image={it} />
          </Card>
        </div>
        <div className="stack">
          <Card title={t("image.family")}>
            <Tree image={it} />
          </Card>
          <Tags image={it} />
          <Card title={t("held.title")}>
            <HeldBy image={it} />
          </Card>
          <Card title={t("image.pull")}>
            <div className="stack">
              <p className="soft">{t("image.pull_note")}</p>
              <Code text={`docker pull ${it.pull}`} />
            </div>
          </Card>
        </div>
      </div>
      {open === "tag" && <TagDialog image={it} onClose={() => setOpen(undefined)} />}
      {open === "publish" && <TagDialog image={it} isPublic onClose={() => setOpen(undefined)} />}
      {open === "edit" && <EditDialog image={it} onClose={() => setOpen(undefined)} />}
      {open === "delete" && <DeleteDialog image={it} onClose={() => setOpen(undefined)} />}
    </>
  );
}

function Parameters({ image }: { image: Image }) {
  const { t } = useText();
  const { exposed_ports, env, entrypoint, command, working_dir, user, volumes } = image.create_parameters;
  const rows: [string, string[]][] = [
    [t("field.ports"), exposed_ports ?? []],
    [t("field.entrypoint"), entrypoint?.length ? [entrypoint.join(" ")] : []],
    [t("field.command"), command?.length ? [command.join(" ")] : []],
    [t("field.working_dir"), working_dir ? [working_dir] : []],
    [t("field.user"), user ? [user] : []],
    [t("field.volumes"), volumes ?? []],
    [t("field.env"), Object.entries(env ?? {}).map(([key, value]) => `${key}=${value}`)],
  ];
  return (
    <dl className="facts">
      {rows
        .filter(([, values]) => values.length > 0)
        .flatMap(([name, values]) => [
          <dt key={name}>{name}</dt>,
          <dd key={`${name}-is`} className="mono">
            {values.map((value) => (
              <div key={value}>
                <Foreign text={value} />
              </div>
            ))}
          </dd>,
        ])}
    </dl>
  );
}

function Layers({ image }: { image: Image }) {
  const { t, bytes } = useText();
  return (
    <ol className="stack">
      {image.layers.map((layer, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: an image may have the same layer twice
        <li key={index}>
          <div className="row apart small">
            <span className="mono clip">{layer.digest.slice(0, 19)}…</span>
            <span className="soft">{bytes(layer.size_bytes)}</span>
          </div>
          <Meter
            parts={[{ value: layer.size_bytes }]}
            total={image.size_bytes}
            label={`${t("image.layer")} ${index + 1}: ${bytes(layer.size_bytes)}`}
          />
        </li>
      ))}
    </ol>
  );
}

/** The other images of the same repository. */
function Tags({ image }: { image: Image }) {
  const { t } = useText();
  const images = useQuery(queries.images());
  const others = images.data?.data.filter(
    (it) => it.owner === image.owner && it.repo === image.repo && it.id !== image.id,
  );
  if (!others?.length) return null;
  return (
    <Card title={t("image.tags")} flush>
      <ul className="lines">
        {others.slice(0, TAGS_SHOWN).map((it) => (
          <li key={it.id} className="row">
            <Link className="grow" to={paths.image(it.id)}>
              {it.tag ?? it.digest.slice(0, 19)}
            </Link>
            <span className="soft small">
              <When at={it.created_at} />
            </span>
          </li>
        ))}
      </ul>
    </Card>
  );
}

function TagDialog({ image, isPublic, onClose }: { image: Image; isPublic?: boolean; onClose: () => void }) {
  const { t } = useText();
  const client = useQueryClient();
  const navigate = useNavigate();
  const [name, setName] = useState(isPublic ? `public/${image.repo}:${image.tag ?? "latest"}` : `${image.repo}:`);
  return (
    <Confirm
      title={t(isPublic ? "image.publish" : "image.tag")}
      act={t(isPublic ? "image.publish" : "image.tag")}
      command={`longshore image tag ${image.id} ${shellWord(name)}`}
      onClose={onClose}
      onAct={async () => {
        const made = await call(
          api.POST("/api/v1/images/{id}/tags", { params: { path: { id: image.id } }, body: { name } }),
        );
        client.invalidateQueries({ queryKey: ["images"] });
        navigate(paths.image(made.id));
      }}
    >
      <p className="soft">{t(isPublic ? "image.publish_note" : "image.tag_note")}</p>
      <TextField
        label={t("field.image_name")}
        value={name}
        onChange={setName}
        required
        spellCheck={false}
        autoCapitalize="none"
      />
    </Confirm>
  );
}

function EditDialog({ image, onClose }: { image: Image; onClose: () => void }) {
  const { t } = useText();
  const client = useQueryClient();
  const [display_name, setDisplayName] = useState(image.display_name ?? "");
  const [description, setDescription] = useState(image.description ?? "");
  return (
    <Confirm
      title={t("act.edit")}
      act={t("act.save")}
      command={`longshore image update ${image.id} --description ${shellWord(description || "TEXT")}`}
      onClose={onClose}
      onAct={async () => {
        client.setQueryData(
          ["image", String(image.id)],
          await call(
            api.PATCH("/api/v1/images/{id}", {
              params: { path: { id: image.id } },
              body: { display_name, description },
            }),
          ),
        );
        client.invalidateQueries({ queryKey: ["images"] });
      }}
    >
      <TextField label={t("field.display_name")} value={display_name} onChange={setDisplayName} />
      <AreaField label={t("field.description")} value={description} onChange={setDescription} />
    </Confirm>
  );
}

function DeleteDialog({ image, onClose }: { image: Image; onClose: () => void }) {
  const { t, bytes } = useText();
  const toast = useToast();
  const client = useQueryClient();
  const navigate = useNavigate();
  const dependents = useQuery(queries.dependents(image.id));
  const count = (dependents.data?.images.length ?? 0) + (dependents.data?.containers.length ?? 0);
  return (
    <Confirm
      title={t("image.delete", { name: image.name })}
      act={t("act.delete")}
      command={`longshore image delete ${shellWord(image.name)}`}
      danger
      why={count > 0 ? t("image.delete_first") : undefined}
      onClose={onClose}
      onAct={async () => {
        await done(api.DELETE("/api/v1/images/{id}", { params: { path: { id: image.id } } }));
        toast(t("said.deleted", { name: image.name }));
        navigate(paths.images);
        client.removeQueries({ queryKey: ["image", String(image.id)] });
        client.invalidateQueries({ queryKey: ["images"] });
      }}
    >
      <p>{t("image.delete_note", { size: bytes(image.size_bytes) })}</p>
      {count > 0 && (
        <>
          <p>{t("image.delete_first")}</p>
          <Dependents image={image} />
        </>
      )}
    </Confirm>
  );
}
