/** The console's beginning: styles, cache, session, and what address shows what. */
import "./theme.css";
import "./parts.css";
import "./shell.css";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { RouterProvider } from "react-router";
import { Failure } from "./api/client";
import { Toasts } from "./parts/toasts";
import { router } from "./router";
import { SessionGate } from "./shell/session";
import { applyTheme } from "./shell/theme";

applyTheme();

const client = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 15_000,
      // What will fail again is not tried again.
      retry: (count, error) => count < 3 && (!(error instanceof Failure) || error.isPassing),
      refetchOnWindowFocus: true,
    },
  },
});

const root = document.getElementById("console");
if (!root) throw new Error("the page has no place for the console");
createRoot(root).render(
  <StrictMode>
    <QueryClientProvider client={client}>
      <Toasts>
        <SessionGate>
          <RouterProvider router={router} />
        </SessionGate>
      </Toasts>
    </QueryClientProvider>
  </StrictMode>,
);
