//! Which pushes start a run.

use store::git_repos::Row;

use super::payload::Push;
use crate::clients::git::{self, GitUrl};
use crate::domain::runs::REF_CHARS;

/// What in a commit's message says that nothing is to be done.
const SKIP_MARKS: &[&str] = &["[skip ci]", "[ci skip]", "[no ci]", "[skip actions]", "***no_ci***"];

/// Why a push does not start a run; none when it does.
pub(super) fn reason_against(repo: &Row, push: &Push) -> Option<String> {
    let content = &repo.content;
    if let Ok(url) = content.url.parse::<GitUrl>()
        && !push.project.is_empty()
        && !is_same_project(url.project(), &push.project)
        && !is_same_project(&content.repo_name, &push.project)
    {
        return Some("it is about another repository".to_owned());
    }
    if push.git_ref.chars().count() > REF_CHARS {
        return Some(format!("the name of the branch or tag has more than {REF_CHARS} characters"));
    }
    let short = short_name(&push.git_ref);
    let options = &content.options;
    let is_wanted = if !options.branches.is_empty() {
        options.branches.iter().any(|pattern| matches(pattern, short) || matches(pattern, &push.git_ref))
    } else if git::is_commit_id(&content.branch) {
        false
    } else if !content.branch.is_empty() {
        content.branch == short || content.branch == push.git_ref
    } else if push.git_ref.starts_with("refs/heads/") && push.default_branch.is_empty() {
        return Some(
            "it does not say which branch is the default branch; set the repository's `branch` or `options.branches`"
                .to_owned(),
        );
    } else {
        push.git_ref.starts_with("refs/heads/") && push.default_branch == short
    };
    if !is_wanted {
        return Some(format!("pushes to `{short}` start no run"));
    }
    let message = push.message.to_lowercase();
    if SKIP_MARKS.iter().any(|mark| message.contains(mark)) {
        return Some("the commit's message says that it is to be skipped".to_owned());
    }
    if let Some(files) = &push.files
        && !options.paths.is_empty()
        && !files.iter().any(|file| options.paths.iter().any(|pattern| is_under(pattern, file)))
    {
        return Some("no file changed that starts a run".to_owned());
    }
    None
}

fn short_name(git_ref: &str) -> &str {
    git_ref.strip_prefix("refs/heads/").or_else(|| git_ref.strip_prefix("refs/tags/")).unwrap_or(git_ref)
}

/// Only the last part is compared: servers lie under a path of their host, are reached through mirrors, and keep the old addresses
/// of projects that moved to another owner. Whose delivery it is, its signature says.
fn is_same_project(ours: &str, told: &str) -> bool {
    let last = |path: &str| {
        let path = path.trim_end_matches('/').to_lowercase();
        let name = path.rsplit('/').next().unwrap_or_default();
        name.strip_suffix(".git").unwrap_or(name).to_owned()
    };
    last(ours) == last(told)
}

/// A folder means everything in it.
fn is_under(pattern: &str, file: &str) -> bool {
    let pattern = pattern.trim_start_matches('/');
    let folder = pattern.trim_end_matches('/');
    matches(pattern, file) || file.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// `*` stands for any part, also an empty one. Takes time in proportion to both lengths, whatever the pattern.
fn matches(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.ends_with(piece);
        }
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use store::git_repos::Content;
    use wire::git_repos::GitRepoOptions;
    use wire::ids::{AccountId, GitRepoId};
    use wire::time::Timestamp;

    use super::*;

    #[test]
    fn a_star_stands_for_any_part() {
        for (pattern, text) in [
            ("main", "main"),
            ("*", ""),
            ("*", "a/b"),
            ("release/*", "release/1.0"),
            ("*.md", "docs/a.md"),
            ("a*b*c", "a--b--c"),
            ("a*a", "aa"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("main", "mainly"), ("release/*", "release"), ("a*a", "a"), ("*.md", "a.mdx"), ("", "a")]
        {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
        assert!(
            is_under("src", "src/a.rs") && is_under("/src/", "src/a/b.rs") && !is_under("src", "srcs/a.rs")
        );
    }

    fn repo(content: Content) -> Row {
        Row {
            id: GitRepoId(1),
            uuid: String::new(),
            account_id: AccountId(1),
            content,
            last_commit: None,
            next_look_at: None,
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
        }
    }

    fn push(git_ref: &str, default_branch: &str) -> Push {
        Push {
            git_ref: git_ref.to_owned(),
            commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
            message: String::new(),
            files: None,
            project: String::new(),
            default_branch: default_branch.to_owned(),
        }
    }

    #[test]
    fn a_name_that_is_too_long_to_be_kept_starts_no_run() {
        let options = GitRepoOptions { branches: vec!["*".to_owned()], ..GitRepoOptions::default() };
        let repo = repo(Content { options, ..Content::default() });
        let of = |length: usize| format!("refs/heads/{}", "b".repeat(length - "refs/heads/".len()));

        assert_eq!(reason_against(&repo, &push(&of(300), "")), None);
        let reason = reason_against(&repo, &push(&of(301), ""));
        assert_eq!(reason.as_deref(), Some("the name of the branch or tag has more than 300 characters"));
    }

    #[test]
    fn only_the_default_branch_is_built_where_nothing_else_is_wished() {
        let of = |content: Content, git_ref, default| reason_against(&repo(content), &push(git_ref, default));
        let (none, main) = (Content::default, || Content { branch: "main".to_owned(), ..Content::default() });

        assert_eq!(of(none(), "refs/heads/main", "main"), None);
        assert!(of(none(), "refs/heads/dev", "main").unwrap().contains("`dev`"));
        for git_ref in ["refs/heads/main", "refs/heads/dev"] {
            assert!(of(none(), git_ref, "").unwrap().contains("`options.branches`"), "{git_ref}");
        }
        assert!(of(none(), "refs/tags/v1", "").unwrap().contains("`v1`"));
        assert_eq!(of(main(), "refs/heads/main", ""), None);
        assert!(of(main(), "refs/heads/dev", "").unwrap().contains("`dev`"));
    }

    #[test]
    fn a_project_is_known_also_under_a_path() {
        assert!(is_same_project("t/app", "T/App"));
        assert!(is_same_project("git/t/app", "t/app"));
        assert!(is_same_project("scm/T/app", "t/app"));
        assert!(is_same_project("app", "t/app"));
        assert!(is_same_project("srv/git/app", "new-owner/app"));
        assert!(!is_same_project("t/app2", "t/app"));
        assert!(!is_same_project("t/app", "t/other"));
    }
}
