//! Which part of a cluster a namespace belongs to, or a key by itself.

const SLOTS: u16 = 16384;

/// The slot of all keys with this hash tag: CRC16 of the tag (XMODEM), modulo the number of slots.
pub(super) fn slot_of(tag: &str) -> u16 {
    let crc = tag.bytes().fold(0_u16, |crc, byte| {
        (0..8)
            .fold(crc ^ (u16::from(byte) << 8), |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 })
    });
    crc % SLOTS
}

/// The slot of a key: of its hash tag, what stands between the first `{` and the next `}`, where anything does; else of all of it.
pub(super) fn slot_of_key(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, behind)| behind.split_once('}')).map(|(tag, _)| tag);
    slot_of(tag.filter(|tag| !tag.is_empty()).unwrap_or(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot_of("123456789"), 0x31c3);
        assert_eq!(slot_of("foo"), 12182);
        assert_eq!(slot_of(""), 0);
    }

    #[test]
    fn key_goes_by_its_hash_tag_where_it_has_one() {
        for (key, tag) in [("foo", "foo"), ("a{foo}b", "foo"), ("{foo}{bar}", "foo"), ("a{{foo}}b", "{foo")] {
            assert_eq!(slot_of_key(key), slot_of(tag), "{key}");
        }
        for whole in ["", "a{}b{foo}", "a{foo", "a}foo{"] {
            assert_eq!(slot_of_key(whole), slot_of(whole), "{whole}");
        }
    }
}
