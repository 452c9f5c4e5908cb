//! What a gateway or a bucket's policy demands, from `LSYNC_*` variables and the file.

use std::str::FromStr;

use lsync::config::{BadValue, Gateway};

use super::environment::Environment;
use super::find::Loaded;
use crate::cli::failure::Failure;

/// Reads what is demanded.
pub(crate) fn of(env: &Environment, loaded: Option<&Loaded>) -> Result<Gateway, Failure> {
    let file = loaded.map(|loaded| &loaded.file.remote);
    let requester_pays = match env.text("LSYNC_REQUESTER_PAYS").as_deref() {
        Some("1" | "true" | "yes") => true,
        Some("0" | "false" | "no") => false,
        Some(_) => return Err(Failure::usage("LSYNC_REQUESTER_PAYS: expected true or false")),
        None => file.and_then(|file| file.requester_pays).unwrap_or_default(),
    };
    let gateway = Gateway {
        addressing: variable(env, "LSYNC_ADDRESSING_STYLE")?.or_else(|| file?.addressing_style).unwrap_or_default(),
        requester_pays,
        encryption: variable(env, "LSYNC_SSE")?.or_else(|| file?.sse),
        kms_key_id: env.text("LSYNC_SSE_KMS_KEY_ID").or_else(|| Some(file?.sse_kms_key_id.as_ref()?.value.clone())),
        acl: variable(env, "LSYNC_ACL")?.or_else(|| file?.acl.clone()),
    };
    let fine = |id: &String| id.bytes().all(|byte| byte.is_ascii_graphic());
    if !gateway.kms_key_id.as_ref().is_none_or(fine) {
        return Err(Failure::usage("sse_kms_key_id: a key id or ARN has no spaces"));
    }
    if gateway.kms_key_id.is_some() && !gateway.encryption.is_some_and(|sse| sse.as_str().starts_with("aws:kms")) {
        return Err(Failure::usage("sse_kms_key_id is given without sse").hint("add sse = \"aws:kms\" to [remote]"));
    }
    Ok(gateway)
}

fn variable<T: FromStr<Err = BadValue>>(env: &Environment, name: &str) -> Result<Option<T>, Failure> {
    let text = env.text(name);
    text.map(|text| text.trim().parse().map_err(|bad: BadValue| Failure::usage(format!("{name}: {bad}")))).transpose()
}
