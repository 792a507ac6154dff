//! Volumes between the request for them and the close of their lifeline.

use std::io;

use model::limits;
use nix::sys::epoll::EpollFlags;

use super::Server;
use super::source::Source;
use crate::nursery::volumes::Formatting;
use crate::nursery::{Nursery, Trouble, say};
use crate::spec::check_id;
use crate::wire::Answer;

impl Server {
    pub(super) fn volume(
        &mut self,
        nursery: &Nursery,
        client: u32,
        id: &str,
        size_bytes: u64,
    ) -> Result<(), Trouble> {
        check_id(id).map_err(Trouble::refused)?;
        let is_known = |other: &Formatting| other.id == id;
        if nursery.volumes.root(id).is_some() || self.formatting.values().any(|(_, f)| is_known(f))
        {
            return Err(Trouble::exists(id));
        }
        if nursery.volumes.len() + self.formatting.len() >= limits::VOLUMES_MAX {
            return Err(Trouble::refused("too many volumes"));
        }
        if !(limits::VOLUME_MIN_BYTES..=limits::VOLUME_MAX_BYTES).contains(&size_bytes) {
            return Err(Trouble::refused("the size of the volume is out of range"));
        }
        let formatting = nursery.volumes.format(id, size_bytes)?;
        let number = self.number();
        self.watch(
            &formatting.pidfd,
            Source::Format(number),
            EpollFlags::EPOLLIN,
        )
        .map_err(Trouble::failed("watch mkfs.ext4"))?;
        self.formatting.insert(number, (client, formatting));
        Ok(())
    }

    pub(super) fn formatted(&mut self, nursery: &mut Nursery, number: u32) -> io::Result<()> {
        let Some((client, formatting)) = self.formatting.remove(&number) else {
            return Ok(());
        };
        let id = formatting.id.clone();
        match nursery.volumes.mount(formatting) {
            Ok(theirs) => {
                if let Some(ours) = nursery.volumes.lifeline(&id) {
                    self.watch(ours, Source::Lifeline(number), EpollFlags::empty())?;
                }
                self.volumes.insert(number, id);
                self.answer(client, &Answer::Volume, &[theirs]);
            }
            Err(trouble) => self.answer(client, &trouble.answer(), &[]),
        }
        Ok(())
    }

    /// The client needs the volume no more.
    pub(super) fn lifeline_closed(&mut self, nursery: &mut Nursery, number: u32) {
        let Some(id) = self.volumes.remove(&number) else {
            return;
        };
        let is_used = nursery.table.is_volume_used(&id);
        if let Err(error) = nursery.volumes.remove(&id, is_used) {
            say(&format!("remove the volume {id}: {error}"));
        }
    }
}
