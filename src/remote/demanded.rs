//! Headers that a gateway or a bucket's policy demands, put on the requests that they are for, before these are signed.

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextMut;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

use crate::config::Gateway;

/// Adds what is demanded.
#[derive(Debug)]
pub(super) struct Demanded {
    /// On every request.
    all: Vec<(&'static str, String)>,
    /// On requests that begin a new object: PutObject, CopyObject, CreateMultipartUpload.
    new: Vec<(&'static str, String)>,
}

impl Demanded {
    /// `None`: nothing is.
    pub(super) fn by(gateway: &Gateway) -> Option<Demanded> {
        let all = gateway.requester_pays.then(|| ("x-amz-request-payer", "requester".to_owned()));
        let new = [
            gateway.encryption.map(|encryption| ("x-amz-server-side-encryption", encryption.as_str().to_owned())),
            gateway.kms_key_id.clone().map(|id| ("x-amz-server-side-encryption-aws-kms-key-id", id)),
            gateway.acl.as_ref().map(|acl| ("x-amz-acl", acl.as_str().to_owned())),
        ];
        let demanded = Demanded { all: all.into_iter().collect(), new: new.into_iter().flatten().collect() };
        (!demanded.all.is_empty() || !demanded.new.is_empty()).then_some(demanded)
    }
}

impl Intercept for Demanded {
    fn name(&self) -> &'static str {
        "lsync demanded headers"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        let new = if is_new_object(request.method(), request.uri()) { self.new.as_slice() } else { &[] };
        for (name, value) in self.all.iter().chain(new) {
            request.headers_mut().insert(*name, value.clone());
        }
        Ok(())
    }
}

fn is_new_object(method: &str, uri: &str) -> bool {
    let query = uri.split_once('?').map_or("", |(_, query)| query);
    let has = |name: &str| query.split('&').any(|part| part.split('=').next() == Some(name));
    match method {
        "PUT" => !has("partNumber"),
        "POST" => has("uploads"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_begins_an_object_says_how_it_is_encrypted() {
        let check = |method, uri, expected| assert_eq!(is_new_object(method, uri), expected, "{method} {uri}");
        check("PUT", "http://h/b/k?x-id=PutObject", true);
        check("PUT", "http://h/b/k?x-id=CopyObject", true);
        check("PUT", "http://h/b/k?x-id=UploadPart&partNumber=1&uploadId=u", false);
        check("PUT", "http://h/b/uploads", true);
        check("POST", "http://h/b/k?uploads", true);
        check("POST", "http://h/b/k?uploadId=u", false);
        check("GET", "http://h/b/?list-type=2&prefix=uploads", false);
        check("DELETE", "http://h/b/k", false);
        check("HEAD", "http://h/b/k", false);
    }
}
