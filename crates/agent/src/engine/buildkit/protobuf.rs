//! The little of protobuf that sessions and traces of BuildKit need: messages of numbers and of bytes.

/// What a field holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, in their order, as far as it can be read. Fields of other kinds are left out.
pub(super) fn fields(mut rest: &[u8]) -> impl Iterator<Item = (u64, Value<'_>)> {
    std::iter::from_fn(move || {
        loop {
            let key = varint(&mut rest)?;
            match key & 7 {
                0 => return Some((key >> 3, Value::Number(varint(&mut rest)?))),
                1 => drop(take(&mut rest, 8)?),
                2 => {
                    let length = usize::try_from(varint(&mut rest)?).ok()?;
                    return Some((key >> 3, Value::Bytes(take(&mut rest, length)?)));
                }
                5 => drop(take(&mut rest, 4)?),
                _ => return None,
            }
        }
    })
}

/// The first field of this number that holds text.
pub(super) fn text(message: &[u8], number: u64) -> Option<&str> {
    fields(message).find_map(|(field, value)| match value {
        Value::Bytes(bytes) if field == number => std::str::from_utf8(bytes).ok(),
        _ => None,
    })
}

/// Appends a field that holds bytes.
pub(super) fn put_bytes(message: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    message.push(number << 3 | 2);
    put_varint(message, bytes.len());
    message.extend_from_slice(bytes);
}

/// Appends a field that holds a small number.
pub(super) fn put_number(message: &mut Vec<u8>, number: u8, value: u8) {
    message.push(number << 3);
    put_varint(message, value.into());
}

fn put_varint(message: &mut Vec<u8>, mut value: usize) {
    loop {
        let low = u8::try_from(value & 0x7f).expect("seven bits fit into a byte");
        value >>= 7;
        if value == 0 {
            return message.push(low);
        }
        message.push(low | 0x80);
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(head)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_cut_off_ends() {
        let long = vec![7; 300];
        let mut message = Vec::new();
        put_bytes(&mut message, 1, b"name");
        put_number(&mut message, 2, 200);
        message.extend([3 << 3 | 5, 0, 0, 0, 0, 4 << 3 | 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        put_bytes(&mut message, 5, &long);

        let read: Vec<_> = fields(&message).collect();
        assert_eq!(read, [(1, Value::Bytes(b"name")), (2, Value::Number(200)), (5, Value::Bytes(&long))]);
        assert_eq!((text(&message, 1), text(&message, 2)), (Some("name"), None));
        for length in 0..message.len() {
            assert!(fields(&message[..length]).count() < 3);
        }
        for broken in
            [&[0xff; 11][..], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], &[0x0b]]
        {
            assert_eq!(fields(broken).count(), 0);
        }
    }
}
