//! The rights matrix: every route with who may call it. A route without a row is not served; a row without a route
//! fails a test. What a caller may do to which thing is decided in the domain; [`Access`] says what to expect there,
//! and the tests hold each route to it.

use axum::http::Method;

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody, without a token.
    Public,
    /// Every account.
    Account,
    /// Every account, for what is its own or public; what is somebody else's does not exist for it (404).
    Own,
    /// As `Own`, and also whoever shows a ticket that such an account was given.
    OwnOrTicket,
    /// Every account, naming itself; naming somebody else is refused (403) unless an admin does it.
    Acting,
    /// Admins only (403 for others).
    Admin,
    /// Not accounts at all: proves itself by a secret of its own kind (invited machines, the registry).
    Secret,
}

use Access::{Account, Acting, Admin, Own, OwnOrTicket, Public, Secret};

/// Method, path as the router knows it, access.
pub const RIGHTS: &[(&str, &str, Access)] = &[
    ("GET", "/", Public),
    ("GET", "/ui/{*path}", Public),
    ("GET", "/healthz", Public),
    ("GET", "/readyz", Public),
    ("GET", "/metrics", Admin),
    ("GET", "/api/openapi.json", Public),
    ("GET", "/api/docs", Public),
    ("GET", "/api/docs/{file}", Public),
    // Seed 001.
    ("POST", "/api/auth/register", Public),
    ("POST", "/api/auth/login", Public),
    ("GET", "/api/auth/params", Public),
    ("POST", "/api/auth/logout", Account),
    ("GET", "/api/user/get_user/{account}", Account),
    ("POST", "/api/user/set_profile", Account),
    ("POST", "/api/user/set_password", Acting),
    ("POST", "/api/user/set_photo/custom", Acting),
    ("POST", "/api/user/set_photo/default", Acting),
    ("GET", "/api/user/photo/{name}", Account),
    ("GET", "/api/machine/info", Account),
    // Seed 000.
    ("POST", "/user/register", Public),
    ("POST", "/user/login", Public),
    ("POST", "/image/upload_image", Acting),
    ("POST", "/images/upload_image", Acting),
    ("GET", "/image/list_all_my_repo", Acting),
    ("POST", "/image/list_all_my_repo", Acting),
    ("GET", "/images/list_all_my_repo", Acting),
    ("POST", "/images/list_all_my_repo", Acting),
    ("GET", "/image/list_all_my_images", Acting),
    ("POST", "/image/list_all_my_images", Acting),
    ("GET", "/images/list_all_my_images", Acting),
    ("POST", "/images/list_all_my_images", Acting),
    ("POST", "/image/tag_image", Acting),
    ("POST", "/images/tag_image", Acting),
    ("POST", "/image/delete_image", Acting),
    ("POST", "/images/delete_image", Acting),
    ("GET", "/deploy/list_all_nodes", Account),
    ("POST", "/deploy/list_all_nodes", Account),
    ("POST", "/deploy/create_namespace", Acting),
    ("GET", "/deploy/list_all_my_namespace", Acting),
    ("POST", "/deploy/list_all_my_namespace", Acting),
    ("POST", "/deploy/delete_namespace", Acting),
    ("POST", "/deploy/create_deployment", Acting),
    ("POST", "/deploy/update_deployment", Acting),
    ("POST", "/deploy/delete_deployment", Acting),
    ("POST", "/deploy/create_service", Acting),
    ("POST", "/deploy/update_service", Acting),
    ("POST", "/deploy/delete_service", Acting),
    ("GET", "/deploy/list_all_pods", Acting),
    ("POST", "/deploy/list_all_pods", Acting),
    ("GET", "/deploy/list_all_developments", Acting),
    ("POST", "/deploy/list_all_developments", Acting),
    ("GET", "/deploy/list_all_deployments", Acting),
    ("POST", "/deploy/list_all_deployments", Acting),
    // Our own.
    ("GET", "/api/v1/me", Account),
    ("GET", "/api/v1/accounts", Admin),
    ("POST", "/api/v1/accounts", Admin),
    ("GET", "/api/v1/accounts/{account}", Own),
    ("PATCH", "/api/v1/accounts/{account}", Admin),
    ("GET", "/api/v1/accounts/{account}/quota", Own),
    ("PUT", "/api/v1/accounts/{account}/quota", Admin),
    ("GET", "/api/v1/tokens", Account),
    ("POST", "/api/v1/tokens", Account),
    ("DELETE", "/api/v1/tokens/{id}", Own),
    ("GET", "/api/v1/audit", Admin),
    ("GET", "/api/v1/images", Account),
    ("GET", "/api/v1/images/{id}", Own),
    ("PATCH", "/api/v1/images/{id}", Own),
    ("DELETE", "/api/v1/images/{id}", Own),
    ("POST", "/api/v1/images/{id}/tags", Own),
    ("GET", "/api/v1/images/{id}/dependents", Own),
    ("GET", "/api/v1/images/{id}/tree", Own),
    ("GET", "/api/v1/images/{id}/machines", Own),
    ("PUT", "/api/v1/images/{id}/machines/{machine}", Admin),
    ("GET", "/api/v1/repositories", Account),
    ("GET", "/api/v1/builds", Account),
    ("POST", "/api/v1/builds", Account),
    ("GET", "/api/v1/builds/{id}", Own),
    ("POST", "/api/v1/builds/{id}/cancel", Own),
    ("GET", "/api/v1/builds/{id}/log", Own),
    // The registry's token server answers anonymous requests too (with a token for nothing), and has its own proof.
    ("GET", "/api/registry/token", Public),
    ("POST", "/api/registry/token", Public),
    ("POST", "/api/registry/events", Secret),
    ("GET", "/api/v1/registry/collections", Admin),
    ("POST", "/api/v1/registry/collections", Admin),
    ("GET", "/api/v1/registry/collections/{id}", Admin),
    ("GET", "/api/v1/containers", Account),
    ("POST", "/api/v1/containers", Account),
    ("GET", "/api/v1/containers/{id}", Own),
    ("DELETE", "/api/v1/containers/{id}", Own),
    ("POST", "/api/v1/containers/{id}/start", Own),
    ("POST", "/api/v1/containers/{id}/stop", Own),
    ("POST", "/api/v1/containers/{id}/restart", Own),
    ("GET", "/api/v1/containers/{id}/log", Own),
    ("GET", "/api/v1/containers/{id}/stats", Own),
    ("PATCH", "/api/v1/containers/{id}", Own),
    ("GET", "/api/v1/containers/{id}/save", Own),
    ("POST", "/api/v1/containers/{id}/save", Own),
    ("GET", "/api/v1/containers/{id}/files", Own),
    ("DELETE", "/api/v1/containers/{id}/files", Own),
    ("GET", "/api/v1/containers/{id}/files/content", Own),
    ("PUT", "/api/v1/containers/{id}/files/content", Own),
    ("POST", "/api/v1/containers/{id}/files/archive", Own),
    ("POST", "/api/v1/containers/{id}/files/folders", Own),
    ("GET", "/api/v1/volumes", Account),
    ("GET", "/api/v1/volumes/{id}", Own),
    ("DELETE", "/api/v1/volumes/{id}", Own),
    ("GET", "/api/v1/kept-logs", Account),
    ("DELETE", "/api/v1/kept-logs/{id}", Own),
    ("POST", "/api/v1/containers/{id}/terminal-tickets", Own),
    ("GET", "/api/v1/containers/{id}/terminal", OwnOrTicket),
    ("GET", "/api/v1/containers/{id}/terminals", Own),
    ("DELETE", "/api/v1/containers/{id}/terminals/{terminal}", Own),
    ("GET", "/api/v1/events", Account),
    ("GET", "/api/v1/machines", Account),
    ("GET", "/api/v1/machines/{id}", Account),
    ("PATCH", "/api/v1/machines/{id}", Admin),
    ("DELETE", "/api/v1/machines/{id}", Admin),
    ("POST", "/api/v1/machines/{id}/release", Admin),
    ("GET", "/api/v1/invites", Admin),
    ("POST", "/api/v1/invites", Admin),
    ("DELETE", "/api/v1/invites/{id}", Admin),
    ("POST", "/api/v1/machines/join", Secret),
    // Agents prove themselves on the socket, by their machine's key, before anything is carried.
    ("GET", "/api/v1/link", Public),
    ("GET", "/api/v1/gpus", Account),
    ("GET", "/api/v1/queue", Account),
    ("GET", "/api/v1/clusters", Account),
    ("POST", "/api/v1/clusters", Admin),
    ("GET", "/api/v1/clusters/{name}", Account),
    ("PATCH", "/api/v1/clusters/{name}", Admin),
    ("DELETE", "/api/v1/clusters/{name}", Admin),
    ("GET", "/api/v1/nodes", Account),
    ("GET", "/api/v1/namespaces", Account),
    ("POST", "/api/v1/namespaces", Account),
    ("GET", "/api/v1/namespaces/{namespace}", Own),
    ("DELETE", "/api/v1/namespaces/{namespace}", Own),
    ("POST", "/api/v1/namespaces/{namespace}/kubeconfig", Own),
    ("GET", "/api/v1/namespaces/{namespace}/pods", Own),
    ("GET", "/api/v1/namespaces/{namespace}/pods/{pod}/log", Own),
    ("POST", "/api/v1/namespaces/{namespace}/pods/{pod}/terminal-tickets", Own),
    ("GET", "/api/v1/namespaces/{namespace}/pods/{pod}/terminal", OwnOrTicket),
    ("GET", "/api/v1/workloads", Account),
    ("POST", "/api/v1/workloads", Account),
    ("GET", "/api/v1/workloads/{id}", Own),
    ("DELETE", "/api/v1/workloads/{id}", Own),
    ("GET", "/api/v1/workloads/{id}/revisions", Own),
    ("POST", "/api/v1/workloads/{id}/rollback", Own),
    ("POST", "/api/v1/workloads/{id}/scale", Own),
    ("POST", "/api/v1/workloads/{id}/restart", Own),
];

/// Who may call this route; none when there is no row for it. HEAD is GET without a body.
pub fn access(method: &Method, path: &str) -> Option<Access> {
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    let row = RIGHTS.iter().find(|(m, p, _)| *m == method && *p == path);
    row.map(|(_, _, access)| match access {
        // These routes check their own secret; the account layer has nothing to say.
        Secret => Public,
        other => *other,
    })
}

/// Whether any method of this path has a row.
pub fn is_known_path(path: &str) -> bool {
    RIGHTS.iter().any(|(_, p, _)| *p == path)
}
