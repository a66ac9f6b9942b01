/** Who is signed in. Whoever is not sees the door; whose session ends signs in over the page, and loses nothing of it. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { createContext, type ReactNode, useContext, useEffect, useState } from "react";
import { type Account, api, done, Failure, whenSessionEnds } from "../api/client";
import { watchEvents } from "../api/live";
import { queries } from "../api/queries";
import { useText } from "../i18n";
import { Skeleton, Trouble } from "../parts/basic";
import { Dialog } from "../parts/dialog";
import { Door, SignInForm } from "./door";

const Context = createContext<Account | undefined>(undefined);

/** The account that is signed in. */
export function useMe(): Account {
  const me = useContext(Context);
  if (!me) throw new Error("nobody is signed in");
  return me;
}

export const useIsAdmin = () => useMe().role === "admin";

export function SessionGate({ children }: { children: ReactNode }) {
  const { t } = useText();
  const client = useQueryClient();
  const me = useQuery(queries.me());
  const [hasEnded, setEnded] = useState(false);
  const account = me.data;
  const id = account?.user_id;

  useEffect(() => {
    whenSessionEnds(() => setEnded(true));
  }, []);

  useEffect(() => (id === undefined ? undefined : watchEvents(client)), [client, id]);

  if (!account) {
    if (me.isPending) return <Skeleton />;
    if (me.error instanceof Failure && me.error.status === 401)
      return (
        <Door
          onDone={() => {
            setEnded(false);
            client.resetQueries();
          }}
        />
      );
    return (
      <main className="page">
        <Trouble error={me.error} onRetry={() => me.refetch()} />
      </main>
    );
  }
  return (
    <Context value={account}>
      {children}
      {hasEnded && (
        <Dialog title={t("door.ended")} onClose={() => {}}>
          <p>{t("door.ended_note")}</p>
          <SignInForm
            account={account.account}
            onDone={() => {
              setEnded(false);
              client.invalidateQueries();
            }}
          />
        </Dialog>
      )}
    </Context>
  );
}

/** Ends the session, and forgets everything that was read in it. */
export async function signOut() {
  try {
    await done(api.POST("/api/auth/logout"));
  } finally {
    window.location.assign("/");
  }
}
