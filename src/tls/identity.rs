//! Who a certificate says that somebody is: its common name, and its whole subject as
//! `openssl x509 -subject -nameopt RFC2253` prints it.
//!
//! Decides nothing about trust. A name that could be mistaken for another one (not UTF-8, with a NUL
//! or a control character in it, empty, or with a wildcard of MQTT) is none.

use std::fmt::Write as _;

use rustls::pki_types::CertificateDer;
use x509_parser::asn1_rs::{Any, Tag};
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::Oid;
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;

/// Why a certificate gives no user name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoIdentity {
    /// The client showed none.
    #[error("it has no certificate")]
    NoCertificate,
    /// It cannot be read.
    #[error("its certificate cannot be read")]
    Unreadable,
    /// No common name, or an empty one.
    #[error("its certificate has no common name")]
    Missing,
    /// Bytes that are no text, or control characters.
    #[error("the name in its certificate is not clean UTF-8")]
    NotText,
    /// `+` or `#`, which ACLs would take for wildcards.
    #[error("the name in its certificate has a wildcard in it")]
    Wildcard,
}

/// The first common name of the subject, byte for byte.
pub fn common_name(certificate: &CertificateDer<'_>) -> Result<String, NoIdentity> {
    let certificate = parse(certificate)?;
    let first = certificate.subject().iter_common_name().next().ok_or(NoIdentity::Missing)?;
    let name = std::str::from_utf8(first.attr_value().data).map_err(|_| NoIdentity::NotText)?;
    if name.is_empty() {
        return Err(NoIdentity::Missing);
    }
    if name.chars().any(char::is_control) {
        return Err(NoIdentity::NotText);
    }
    if name.contains(['+', '#']) { Err(NoIdentity::Wildcard) } else { Ok(name.to_owned()) }
}

/// The whole subject as RFC 2253 writes it, the last part first: `CN=alice,O=Lab,C=AT`.
pub fn subject(certificate: &CertificateDer<'_>) -> Result<String, NoIdentity> {
    let certificate = parse(certificate)?;
    let mut parts: Vec<String> = Vec::new();
    for relative in certificate.subject().iter_rdn() {
        let mut values = Vec::new();
        for attribute in relative.iter() {
            values.push(attribute_text(attribute.attr_type(), attribute.attr_value())?);
        }
        // OpenSSL turns the parts of one set around as well.
        values.reverse();
        parts.push(values.join("+"));
    }
    parts.reverse();
    if parts.is_empty() { Err(NoIdentity::Missing) } else { Ok(parts.join(",")) }
}

/// Until when and from when it holds, in seconds since 1970, if it can be read.
pub(super) fn validity(certificate: &CertificateDer<'_>) -> Option<(i64, i64)> {
    let certificate = parse(certificate).ok()?;
    let seconds = |time: ASN1Time| time.timestamp();
    let validity = certificate.validity();
    Some((seconds(validity.not_before), seconds(validity.not_after)))
}

/// The common name of a server without alternative names, which OpenSSL's clients then go by.
pub(super) fn common_name_of_nameless(certificate: &CertificateDer<'_>) -> Option<String> {
    let parsed = parse(certificate).ok()?;
    let nameless = parsed.extensions().iter().all(|it| it.oid != OID_X509_EXT_SUBJECT_ALT_NAME);
    if nameless { Some(common_name(certificate).unwrap_or_default()) } else { None }
}

/// Whether a name in a certificate, which may begin with `*.`, is that of a server.
pub(super) fn names_match(pattern: &str, name: &str) -> bool {
    if let Some(parent) = pattern.strip_prefix("*.") {
        let rest = name.split_once('.').filter(|(label, _)| !label.is_empty()).map(|(_, rest)| rest);
        // `*.com` would be everybody; an address has no labels.
        let specific = parent.contains('.') && name.parse::<std::net::IpAddr>().is_err();
        return specific && rest.is_some_and(|rest| rest.eq_ignore_ascii_case(parent));
    }
    !pattern.is_empty() && pattern.eq_ignore_ascii_case(name)
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, NoIdentity> {
    X509Certificate::from_der(certificate).map(|(_, it)| it).map_err(|_| NoIdentity::Unreadable)
}

/// `CN=alice`, or `1.2.3=#0c05…` for a type or value that has no text.
fn attribute_text(kind: &Oid<'_>, value: &Any<'_>) -> Result<String, NoIdentity> {
    let known = SHORT_NAMES.iter().find(|(oid, _)| kind.to_id_string() == *oid);
    let Some((_, name)) = known else {
        return Ok(format!("{}={}", kind.to_id_string(), dump(value)?));
    };
    match decode(value)? {
        Some(text) => Ok(format!("{name}={}", escape(&text))),
        None => Ok(format!("{name}={}", dump(value)?)),
    }
}

/// The characters of a value; `None` for a type that is no string.
fn decode(value: &Any<'_>) -> Result<Option<String>, NoIdentity> {
    let bytes = value.data;
    let text = match value.tag() {
        Tag::Utf8String => std::str::from_utf8(bytes).map_err(|_| NoIdentity::NotText)?.to_owned(),
        Tag::BmpString => {
            let units = bytes.chunks(2).map(|pair| match pair {
                [high, low] => Ok(u16::from_be_bytes([*high, *low])),
                _ => Err(NoIdentity::NotText),
            });
            let units = units.collect::<Result<Vec<u16>, _>>()?;
            String::from_utf16(&units).map_err(|_| NoIdentity::NotText)?
        }
        Tag::UniversalString => {
            let characters = bytes.chunks(4).map(|four| match four {
                [a, b, c, d] => char::from_u32(u32::from_be_bytes([*a, *b, *c, *d])),
                _ => None,
            });
            characters.collect::<Option<String>>().ok_or(NoIdentity::NotText)?
        }
        // One byte is one character of Latin 1.
        Tag::NumericString
        | Tag::PrintableString
        | Tag::T61String
        | Tag::Ia5String
        | Tag::VisibleString
        | Tag::UtcTime
        | Tag::GeneralizedTime => bytes.iter().copied().map(char::from).collect(),
        _ => return Ok(None),
    };
    if text.contains('\0') { Err(NoIdentity::NotText) } else { Ok(Some(text)) }
}

/// RFC 2253, section 2.4, and OpenSSL's addition: bytes beyond ASCII as `\C3\A4`.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let last = text.len().saturating_sub(1);
    for (at, byte) in text.bytes().enumerate() {
        let special = match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => true,
            b'#' => at == 0,
            b' ' => at == 0 || at == last,
            _ => false,
        };
        if special {
            escaped.push('\\');
        }
        if byte.is_ascii_graphic() || byte == b' ' {
            escaped.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "\\{byte:02X}");
        }
    }
    escaped
}

/// The value's own encoding, in hexadecimal.
fn dump(value: &Any<'_>) -> Result<String, NoIdentity> {
    use x509_parser::asn1_rs::ToDer as _;
    let bytes = value.to_der_vec().map_err(|_| NoIdentity::Unreadable)?;
    let mut text = "#".to_owned();
    for byte in bytes {
        let _ = write!(text, "{byte:02X}");
    }
    Ok(text)
}

/// OpenSSL's short names of the parts that subjects have.
const SHORT_NAMES: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.13", "description"),
    ("2.5.4.15", "businessCategory"),
    ("2.5.4.16", "postalAddress"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.18", "postOfficeBox"),
    ("2.5.4.20", "telephoneNumber"),
    ("2.5.4.41", "name"),
    ("2.5.4.42", "GN"),
    ("2.5.4.43", "initials"),
    ("2.5.4.44", "generationQualifier"),
    ("2.5.4.45", "x500UniqueIdentifier"),
    ("2.5.4.46", "dnQualifier"),
    ("2.5.4.65", "pseudonym"),
    ("2.5.4.72", "role"),
    ("2.5.4.97", "organizationIdentifier"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.3", "mail"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("1.2.840.113549.1.9.2", "unstructuredName"),
    ("1.2.840.113549.1.9.8", "unstructuredAddress"),
    ("1.3.6.1.4.1.311.60.2.1.1", "jurisdictionL"),
    ("1.3.6.1.4.1.311.60.2.1.2", "jurisdictionST"),
    ("1.3.6.1.4.1.311.60.2.1.3", "jurisdictionC"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_one_label_of_a_named_domain() {
        for (pattern, name, fits) in [
            ("broker.example.org", "Broker.example.org", true),
            ("*.example.org", "broker.example.org", true),
            ("*.example.org", "a.broker.example.org", false),
            ("*.example.org", "example.org", false),
            ("*.com", "example.com", false),
            ("*.0.0.1", "127.0.0.1", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("", "", false),
        ] {
            assert_eq!(names_match(pattern, name), fits, "{pattern} {name}");
        }
    }
}
