//! Indents JSON without changing anything else: order of keys, spelling of numbers and escapes stay the server's.

use serde::de::IgnoredAny;

/// The text indented by two spaces, or the reason why it is not JSON.
pub(crate) fn pretty(text: &str) -> serde_json::Result<String> {
    serde_json::from_str::<IgnoredAny>(text)?;

    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0;
    let mut is_in_string = false;
    let mut chars = text.chars().filter(|c| !c.is_ascii_control()).peekable();
    while let Some(c) = chars.next() {
        if is_in_string {
            out.push(c);
            match c {
                '\\' => out.extend(chars.next()),
                '"' => is_in_string = false,
                _ => {}
            }
            continue;
        }
        match c {
            ' ' => {}
            '"' => {
                is_in_string = true;
                out.push(c);
            }
            '{' | '[' => {
                out.push(c);
                while chars.next_if_eq(&' ').is_some() {}
                if let Some(end) = chars.next_if(|&next| next == '}' || next == ']') {
                    out.push(end);
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth -= 1;
                new_line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => out.push(c),
        }
    }
    Ok(out)
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_white_space_changes() {
        let text = "{\"z\":1.50,\"a\": [ ],\"s\":\"{a, \\\"b\\\\\",\n\"n\":{\"e\":{},\"l\":[1,2]},\"u\":\"\\u00e9\"}";

        let shown = pretty(text).unwrap();

        assert_eq!(
            shown,
            "{\n  \"z\": 1.50,\n  \"a\": [],\n  \"s\": \"{a, \\\"b\\\\\",\n  \"n\": {\n    \"e\": {},\n    \"l\": \
             [\n      1,\n      2\n    ]\n  },\n  \"u\": \"\\u00e9\"\n}"
        );
    }

    #[test]
    fn what_is_not_json_is_refused() {
        assert!(pretty("<html>").is_err());
        assert!(pretty("{} {}").is_err());
    }
}
