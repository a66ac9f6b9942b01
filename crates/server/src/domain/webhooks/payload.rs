//! What was pushed, as each provider tells it. Only what is needed is read; what is missing or odd is said in words.

use serde_json::Value;

use super::Delivery;
use super::signature::Provider;
use crate::clients::git;

/// Refs of one delivery that are looked at.
const MAX_PUSHES: usize = 1_000;
/// Commits of a push of which providers list the files.
const MAX_COMMITS: usize = 2_048;

/// A ref that has a new commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Push {
    /// `refs/heads/…` or `refs/tags/…`.
    pub(super) git_ref: String,
    /// The commit that it is now.
    pub(super) commit: String,
    /// What its last commit says.
    pub(super) message: String,
    /// The files that changed; none when the provider does not tell all of them.
    pub(super) files: Option<Vec<String>>,
    /// Which repository, `team/app`; empty when that is not said.
    pub(super) project: String,
    /// The branch that the provider shows first; empty when that is not said.
    pub(super) default_branch: String,
}

/// Reads a body whose signature was right; or why it tells of no push.
pub(super) fn read(provider: Provider, event: &str, delivery: &Delivery<'_>) -> Result<Vec<Push>, String> {
    let is_push = match provider {
        Provider::Gitea | Provider::GitHub => event == "push",
        Provider::GitLab => matches!(event, "Push Hook" | "Tag Push Hook"),
        Provider::Bitbucket => matches!(event, "repo:push" | "repo:refs_changed"),
    };
    if !is_push {
        return Err(format!(
            "`{}` is no push",
            event.chars().filter(|c| !c.is_control()).take(60).collect::<String>()
        ));
    }
    let is_form = delivery
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    let body = if is_form {
        let mut pairs = form_urlencoded::parse(delivery.body);
        let payload = pairs.find(|(name, _)| name == "payload").map(|(_, value)| value.into_owned());
        serde_json::from_str(&payload.unwrap_or_default())
    } else {
        serde_json::from_slice(delivery.body)
    };
    let body: Value = body.map_err(|_| "the body is not JSON".to_owned())?;
    let pushes = match (provider, event) {
        (Provider::Bitbucket, "repo:refs_changed") => data_center(&body),
        (Provider::Bitbucket, _) => bitbucket(&body),
        (Provider::GitLab, _) => vec![gitlab(&body)],
        (Provider::Gitea | Provider::GitHub, _) => vec![github(&body)],
    };
    let pushes: Vec<Push> = pushes.into_iter().take(MAX_PUSHES).collect();
    let is_good = |push: &Push| {
        git::is_commit_id(&push.commit) && git::is_ref(&push.git_ref) && push.git_ref.starts_with("refs/")
    };
    if pushes.iter().all(|push| push.commit.is_empty()) {
        return Err("the body is not a push that is understood".to_owned());
    }
    let is_deletion = |push: &Push| !push.commit.is_empty() && push.commit.bytes().all(|b| b == b'0');
    let (deleted, there): (Vec<Push>, Vec<Push>) = pushes.into_iter().partition(is_deletion);
    let there: Vec<Push> = there.into_iter().filter(is_good).collect();
    match (there.is_empty(), deleted.is_empty()) {
        (true, false) => Err("a branch or tag was deleted".to_owned()),
        (true, true) => Err("it names no branch or tag with a new commit".to_owned()),
        _ => Ok(there),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Files of all commits of a push.
fn files(body: &Value) -> Option<Vec<String>> {
    let commits = body["commits"].as_array()?;
    let told = body["total_commits_count"].as_u64().or_else(|| body["total_commits"].as_u64());
    // Whoever pushes much is told less.
    let is_whole = told.is_none_or(|told| told == commits.len() as u64) && commits.len() < MAX_COMMITS;
    if !is_whole || commits.is_empty() {
        return None;
    }
    let mut files = Vec::new();
    for commit in commits {
        let mut is_told = false;
        for list in ["added", "modified", "removed"] {
            if let Some(list) = commit[list].as_array() {
                is_told = true;
                files.extend(list.iter().filter_map(Value::as_str).map(str::to_owned));
            }
        }
        if !is_told {
            return None;
        }
    }
    Some(files)
}

fn github(body: &Value) -> Push {
    let repository = &body["repository"];
    let is_gone = body["deleted"].as_bool().unwrap_or(false);
    let git_ref = text(&body["ref"]);
    let (after, head) = (text(&body["after"]), text(&body["head_commit"]["id"]));
    // A tag with words of its own is an object, and `after` is its id.
    let is_tag = git_ref.starts_with("refs/tags/") && git::is_commit_id(&head);
    let there = if is_tag { head } else { after };
    Push {
        commit: if is_gone { "0".repeat(40) } else { there },
        git_ref,
        message: text(&body["head_commit"]["message"]),
        files: files(body),
        project: text(&repository["full_name"]),
        default_branch: text(&repository["default_branch"]),
    }
}

fn gitlab(body: &Value) -> Push {
    let project = &body["project"];
    let commits = body["commits"].as_array();
    let checkout = text(&body["checkout_sha"]);
    let after = text(&body["after"]);
    let commit = if checkout.is_empty() { after } else { checkout };
    let last = commits.and_then(|commits| commits.iter().find(|one| one["id"] == commit.as_str()));
    Push {
        git_ref: text(&body["ref"]),
        message: last.map(|commit| text(&commit["message"])).unwrap_or_default(),
        commit,
        files: files(body),
        project: text(&project["path_with_namespace"]),
        default_branch: text(&project["default_branch"]),
    }
}

fn bitbucket(body: &Value) -> Vec<Push> {
    let changes = body["push"]["changes"].as_array().cloned().unwrap_or_default();
    let project = text(&body["repository"]["full_name"]);
    let default_branch = text(&body["repository"]["mainbranch"]["name"]);
    let push = |change: &Value| {
        let (new, old) = (&change["new"], &change["old"]);
        let target = if new.is_null() { old } else { new };
        let kind = if target["type"] == "tag" { "tags" } else { "heads" };
        let is_gone = new.is_null() && !old.is_null();
        Push {
            git_ref: format!("refs/{kind}/{}", text(&target["name"])),
            commit: if is_gone { "0".repeat(40) } else { text(&new["target"]["hash"]) },
            message: text(&new["target"]["message"]),
            files: None,
            project: project.clone(),
            default_branch: default_branch.clone(),
        }
    };
    changes.iter().map(push).collect()
}

fn data_center(body: &Value) -> Vec<Push> {
    let changes = body["changes"].as_array().cloned().unwrap_or_default();
    let repository = &body["repository"];
    let project = format!("{}/{}", text(&repository["project"]["key"]), text(&repository["slug"]));
    let push = |change: &Value| {
        let is_gone = change["type"] == "DELETE";
        Push {
            git_ref: text(&change["ref"]["id"]),
            commit: if is_gone { "0".repeat(40) } else { text(&change["toHash"]) },
            message: text(&body["toCommit"]["message"]),
            files: None,
            project: if project == "/" { String::new() } else { project.clone() },
            default_branch: String::new(),
        }
    };
    changes.iter().map(push).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(provider: Provider, event: &str, body: &str) -> Result<Vec<Push>, String> {
        read(provider, event, &Delivery { headers: std::collections::BTreeMap::new(), body: body.as_bytes() })
    }

    const ID: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn each_provider_is_understood() {
        let github = format!(
            r#"{{"ref":"refs/heads/main","after":"{ID}","head_commit":{{"message":"m"}},"commits":[{{"added":["a"],"modified":["b"],"removed":[]}}],"repository":{{"full_name":"t/app","default_branch":"main"}}}}"#
        );
        let gitlab = format!(
            r#"{{"object_kind":"push","ref":"refs/heads/main","after":"{ID}","checkout_sha":"{ID}","total_commits_count":1,"commits":[{{"id":"{ID}","message":"m","added":["a"],"modified":["b"],"removed":[]}}],"project":{{"path_with_namespace":"t/app","default_branch":"main"}}}}"#
        );
        let cloud = format!(
            r#"{{"push":{{"changes":[{{"old":null,"new":{{"type":"branch","name":"main","target":{{"hash":"{ID}","message":"m"}}}}}}]}},"repository":{{"full_name":"t/app","mainbranch":{{"name":"main"}}}}}}"#
        );
        let center = format!(
            r#"{{"eventKey":"repo:refs_changed","repository":{{"slug":"app","project":{{"key":"T"}}}},"changes":[{{"ref":{{"id":"refs/heads/main"}},"toHash":"{ID}","type":"UPDATE"}}]}}"#
        );

        for (provider, event, body) in [
            (Provider::GitHub, "push", &github),
            (Provider::Gitea, "push", &github),
            (Provider::GitLab, "Push Hook", &gitlab),
            (Provider::Bitbucket, "repo:push", &cloud),
            (Provider::Bitbucket, "repo:refs_changed", &center),
        ] {
            let pushes = of(provider, event, body).unwrap();
            assert_eq!(
                (pushes[0].git_ref.as_str(), pushes[0].commit.as_str()),
                ("refs/heads/main", ID),
                "{provider:?}"
            );
            assert!(pushes[0].project.eq_ignore_ascii_case("t/app"), "{provider:?}");
        }
        assert_eq!(of(Provider::GitHub, "push", &github).unwrap()[0].files.as_deref().unwrap(), ["a", "b"]);
    }

    #[test]
    fn a_tag_that_is_an_object_stands_for_its_commit() {
        let tag = "f".repeat(40);
        let body = format!(r#"{{"ref":"refs/tags/v1","after":"{tag}","head_commit":{{"id":"{ID}"}}}}"#);
        let gone = body.replace(&tag, &"0".repeat(40)).replace("{\"ref\"", "{\"deleted\":true,\"ref\"");
        let gitlab = format!(r#"{{"ref":"refs/tags/v1","after":"{tag}","checkout_sha":"{ID}"}}"#);

        for (provider, event, body) in [
            (Provider::GitHub, "push", &body),
            (Provider::Gitea, "push", &body),
            (Provider::GitLab, "Tag Push Hook", &gitlab),
        ] {
            assert_eq!(of(provider, event, body).unwrap()[0].commit, ID, "{provider:?}");
        }
        assert!(of(Provider::GitHub, "push", &gone).is_err());
    }

    #[test]
    fn nonsense_is_no_push() {
        let zeros = "0".repeat(40);
        let deleted = format!(r#"{{"ref":"refs/heads/main","after":"{zeros}","deleted":true}}"#);
        for body in [
            "",
            "x",
            "null",
            "[]",
            "{}",
            "1",
            r#"{"ref":1,"after":{}}"#,
            r#"{"ref":"--upload-pack=x","after":"x"}"#,
            &format!(r#"{{"ref":"refs/heads/-x y","after":"{ID}"}}"#),
            &format!(r#"{{"ref":"main","after":"{ID}"}}"#),
            r#"{"push":{"changes":[null,{},{"new":5}]}}"#,
            &deleted,
        ] {
            for (provider, event) in [
                (Provider::GitHub, "push"),
                (Provider::GitLab, "Push Hook"),
                (Provider::Bitbucket, "repo:push"),
                (Provider::Bitbucket, "repo:refs_changed"),
            ] {
                assert!(of(provider, event, body).is_err(), "{provider:?} {body}");
            }
        }
        assert_eq!(of(Provider::GitHub, "push", &deleted).unwrap_err(), "a branch or tag was deleted");
        let gone = r#"{"push":{"changes":[{"old":{"type":"branch","name":"main"},"new":null}]}}"#;
        assert_eq!(of(Provider::Bitbucket, "repo:push", gone).unwrap_err(), "a branch or tag was deleted");
        for body in
            ["{}", "[]", "null", "1", r#"{"push":{"changes":[]}}"#, r#"{"push":{"changes":[null,{}]}}"#]
        {
            for (provider, event) in [
                (Provider::GitHub, "push"),
                (Provider::Gitea, "push"),
                (Provider::GitLab, "Push Hook"),
                (Provider::Bitbucket, "repo:push"),
                (Provider::Bitbucket, "repo:refs_changed"),
            ] {
                let reason = of(provider, event, body).unwrap_err();
                assert_eq!(reason, "the body is not a push that is understood", "{provider:?} {body}");
            }
        }
        assert_eq!(of(Provider::GitHub, "ping", "{}").unwrap_err(), "`ping` is no push");
    }
}
