/** An image's family: what it was made from, what was made from it, and the containers of each. */
import { useQuery } from "@tanstack/react-query";
import { Link } from "react-router";
import type { Image, Schemas } from "../../api/client";
import { queries } from "../../api/queries";
import { useText } from "../../i18n";
import { Foreign, Skeleton, Trouble } from "../../parts/basic";
import { Icon } from "../../parts/icons";
import { paths } from "../../paths";

type TreeImage = Schemas["TreeImage"];

export function Tree({ image }: { image: Image }) {
  const { t } = useText();
  const tree = useQuery(queries.tree(image.id));
  if (tree.error) return <Trouble error={tree.error} onRetry={tree.refetch} />;
  if (!tree.data) return <Skeleton rows={3} />;
  const { images } = tree.data;
  const known = new Set(images.map((it) => it.id));
  const roots = images.filter((it) => it.parent_image_id == null || !known.has(it.parent_image_id));
  return (
    <>
      <ul className="family" aria-label={t("image.family")}>
        {roots.map((root) => (
          <Branch key={root.id} image={root} all={images} here={image.id} />
        ))}
      </ul>
      {images.length === 1 && images[0]?.containers.length === 0 && (
        <p className="soft small">{t("image.no_children")}</p>
      )}
      {!tree.data.is_complete && <p className="soft small">{t("image.more_family")}</p>}
    </>
  );
}

function Branch({ image, all, here }: { image: TreeImage; all: TreeImage[]; here: number }) {
  const { t, bytes } = useText();
  const children = all.filter((it) => it.parent_image_id === image.id);
  const name = (
    <>
      <Icon name="images" size={15} /> <Foreign text={image.name} />
    </>
  );
  return (
    <li>
      <div className="row">
        {image.id === here ? (
          <span className="family-node here" aria-current="true">
            {name}
          </span>
        ) : (
          <Link className="family-node" to={paths.image(image.id)}>
            {name}
          </Link>
        )}
        <span className="soft small">+{bytes(image.added_bytes)}</span>
      </div>
      {image.description && (
        <p className="soft small">
          <Foreign text={image.description} />
        </p>
      )}
      {(children.length > 0 || image.containers.length > 0 || image.others > 0) && (
        <ul>
          {image.containers.map((it) => (
            <li key={`c${it.id}`}>
              <Link className="family-node" to={paths.container(it.id)}>
                <Icon name="containers" size={15} /> <Foreign text={it.name ?? t("image.somebodys")} />
              </Link>
            </li>
          ))}
          {image.others > 0 && <li className="soft small">{t("image.others", { count: image.others })}</li>}
          {children.map((child) => (
            <Branch key={child.id} image={child} all={all} here={here} />
          ))}
        </ul>
      )}
    </li>
  );
}

/** What has to be deleted before an image can be. */
export function Dependents({ image }: { image: Image }) {
  const { t } = useText();
  const dependents = useQuery(queries.dependents(image.id));
  if (!dependents.data) return <Skeleton rows={2} />;
  return (
    <ul className="family">
      {dependents.data.images.map((it) => (
        <li key={`i${it.id}`}>
          <Link className="family-node" to={paths.image(it.id)}>
            <Icon name="images" size={15} /> <Foreign text={it.name ?? t("image.somebodys")} />
          </Link>
        </li>
      ))}
      {dependents.data.containers.map((it) => (
        <li key={`c${it.id}`}>
          <Link className="family-node" to={paths.container(it.id)}>
            <Icon name="containers" size={15} /> <Foreign text={it.name ?? t("image.somebodys")} />
          </Link>
        </li>
      ))}
    </ul>
  );
}
