//! What a store makes of copies inside the bucket: of parts, of whole objects, and of what is overwritten.

use super::Exam;
use crate::digest::{ETag, digest_one};
use crate::profile::{ETagKind, Support};
use crate::remote::copies::{CopyProbe, Original};
use crate::remote::error::{Error, Kind};
use crate::remote::multipart::Upload;
use crate::remote::probe::CONTENT;

impl Exam<'_> {
    /// The part is sent after that all the same, in the place of whatever this has made.
    pub(super) async fn part_copy(&mut self, upload: &Upload, etag: &ETag) -> Result<(), Error> {
        self.spend()?;
        let original = Original { key: self.key.clone(), etag: etag.clone() };
        self.profile.part_copies = match self.bucket.copy_part(upload, 1, &original, None).await {
            Ok(copied) if copied.md5() == Some(digest_one(CONTENT)) => Some(Support::Honoured),
            Ok(_) => Some(Support::Ignored),
            Err(error) if error.kind == Kind::Stopped => return Err(error),
            Err(error) => {
                matches!(error.kind, Kind::Unsupported | Kind::Protocol | Kind::NotFound | Kind::Precondition).then_some(Support::Refused)
            }
        };
        Ok(())
    }

    /// Copies of whole objects, where an ETag would prove what they hold.
    pub(super) async fn copies(&mut self) -> Result<(), Error> {
        if self.profile.single_etag != Some(ETagKind::Md5) {
            return self.history().await;
        }
        self.spend()?;
        let (key, copy) = (format!("{}-3", self.base), format!("{}-4", self.base));
        self.made.extend([key.clone(), copy.clone()]);
        match self.bucket.copies(&key, &copy, self.profile.is_conditional()).await {
            Ok(CopyProbe { copies, conditional, plain }) => {
                (self.profile.copies, self.profile.conditional_copies, self.profile.history_copies) = (copies, conditional, plain);
            }
            Err(error) if matches!(error.kind, Kind::Unreachable | Kind::Throttled | Kind::Stopped) => return Err(error),
            // That these keys may not copy is no answer about the store.
            Err(_) => {}
        }
        if self.profile.keeps_copies().is_none() { self.history().await } else { Ok(()) }
    }

    /// Copies as the history has them, of the first object.
    async fn history(&mut self) -> Result<(), Error> {
        // Two looks and the copy between them.
        let Some(etag) = self.etag.clone().filter(|_| self.leaves_room_for(3)) else { return Ok(()) };
        self.spend()?;
        let copy = format!("{}-5", self.base);
        self.made.push(copy.clone());
        self.profile.history_copies = self.bucket.history(&self.key, &etag, &copy).await;
        Ok(())
    }
}
