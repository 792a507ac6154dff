//! A sandbox's root as its spec describes it becomes layers and mounts that the child only has to
//! put together: places opened, cloned, their owners mapped, and the sandbox's own layer made.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::stat::SFlag;

use super::ids::Slot;
use super::layer::{Content, Layer, Target, lies_below};
use super::places::{Places, kind, mapped};
use super::{Nursery, Trouble};
use crate::plan::{PlannedMount, RootUpper};
use crate::spec::{Base, Mount, Network, Place, Spec, Upper};

/// What a sandbox has of its own.
#[derive(Debug)]
pub(super) struct Own<'a> {
    pub(super) slot: Slot,
    /// The user namespace of the slot.
    pub(super) ids: BorrowedFd<'a>,
    /// Of `eth0`.
    pub(super) address: Option<Ipv4Addr>,
}

/// A root as its keeper is ordered to lay it.
#[derive(Debug)]
pub(super) struct Layers {
    /// Topmost first.
    pub(super) lowers: Vec<OwnedFd>,
    pub(super) upper: RootUpper,
    pub(super) mounts: Vec<PlannedMount>,
    pub(super) seen_memory: Option<OwnedFd>,
}

/// Opens, clones and maps places for one sandbox.
#[derive(Clone, Copy, Debug)]
struct Mapper<'a> {
    places: Places<'a>,
    ids: BorrowedFd<'a>,
}

impl Nursery {
    /// The root's layers, what is mounted in it, and the layer of its own.
    pub(super) fn root(&self, spec: &Spec, own: &Own<'_>) -> Result<(Layers, Layer), Trouble> {
        let places = Places {
            home: &self.home,
            volumes: &self.volumes,
        };
        let mapper = Mapper {
            places,
            ids: own.ids,
        };
        let opened = mapper.open_all(&spec.lowers)?;
        let (mounts, targets) = mapper.mounts(spec)?;
        let content = Content {
            hostname: &spec.hostname,
            address: own.address,
            resolv_conf: self.resolv_conf(spec),
            uid: spec.uid,
            gid: spec.gid,
            targets,
            memory_max_bytes: self.cgroups.is_v2().then_some(spec.limits.memory_max_bytes),
        };
        let layer = Layer::make(&self.home, &spec.id, &opened, own.slot.base(), &content)?;
        let mut lowers = vec![layer.root().map_err(Trouble::failed("clone a layer"))?];
        lowers.extend(mapper.map_all(&opened)?);
        let memory = self.cgroups.is_v2().then(|| layer.memory()).transpose();
        let layers = Layers {
            lowers,
            upper: mapper.upper(&spec.upper)?,
            mounts,
            seen_memory: memory.map_err(Trouble::failed("clone a layer"))?,
        };
        Ok((layers, layer))
    }

    fn resolv_conf(&self, spec: &Spec) -> String {
        match (spec.network, &self.networks.host) {
            (Network::None, _) | (_, Err(_)) => String::new(),
            (_, Ok(host)) => host.resolv_conf(),
        }
    }
}

impl Mapper<'_> {
    fn open_all(&self, all: &[Place]) -> Result<Vec<OwnedFd>, Trouble> {
        all.iter().map(|place| self.places.open(place)).collect()
    }

    fn map(&self, place: &OwnedFd, is_writable: bool) -> Result<OwnedFd, Trouble> {
        mapped(place.as_fd(), self.ids, is_writable)
            .map_err(Trouble::failed("map the owners of a layer"))
    }

    fn map_all(&self, all: &[OwnedFd]) -> Result<Vec<OwnedFd>, Trouble> {
        all.iter().map(|place| self.map(place, false)).collect()
    }

    fn volume(&self, id: &str) -> Result<OwnedFd, Trouble> {
        let place = Place {
            base: Base::Volume(id.to_owned()),
            path: String::new(),
        };
        self.map(&self.places.open(&place)?, true)
    }

    fn upper(&self, upper: &Upper) -> Result<RootUpper, Trouble> {
        Ok(match upper {
            Upper::ReadOnly => RootUpper::ReadOnly,
            Upper::Memory { max_bytes } => RootUpper::Memory {
                max_bytes: *max_bytes,
            },
            Upper::Volume { volume, dir } => RootUpper::Volume {
                root: self.volume(volume)?,
                dir: dir.clone(),
            },
        })
    }

    /// All mounts, and what must be there in the root for them.
    fn mounts(&self, spec: &Spec) -> Result<(Vec<PlannedMount>, Vec<Target>), Trouble> {
        let mut system = vec!["/proc", "/sys", "/dev"];
        if spec.upper == Upper::ReadOnly {
            system.extend(["/tmp", "/var/tmp"]);
        }
        let target = |path: &str, is_dir| Target {
            path: path.to_owned(),
            is_dir,
        };
        let mut targets: Vec<Target> = system.into_iter().map(|path| target(path, true)).collect();
        let mut mounts: Vec<PlannedMount> = Vec::new();
        for mount in &spec.mounts {
            let (planned, is_dir) = self.mount(mount)?;
            if !lies_below(mount.to(), mounts.iter().map(PlannedMount::to)) {
                targets.push(target(mount.to(), is_dir));
            }
            mounts.push(planned);
        }
        Ok((mounts, targets))
    }

    fn mount(&self, mount: &Mount) -> Result<(PlannedMount, bool), Trouble> {
        let to = mount.to().to_owned();
        Ok(match mount {
            Mount::Bind { from, write, .. } => {
                let place = self.places.open(from)?;
                let kind = kind(&place).map_err(Trouble::failed("look at a place"))?;
                let mount = self.map(&place, *write)?;
                (PlannedMount::Tree { mount, to }, kind == SFlag::S_IFDIR)
            }
            Mount::Overlay { lowers, upper, .. } => {
                let Base::Volume(id) = &upper.base else {
                    return Err(Trouble::refused("the upper folder is not in a volume"));
                };
                let lowers = self.map_all(&self.open_all(lowers)?)?;
                let (volume, dir) = (self.volume(id)?, upper.path.clone());
                (
                    PlannedMount::Overlay {
                        lowers,
                        volume,
                        dir,
                        to,
                    },
                    true,
                )
            }
            Mount::Files { .. } => (PlannedMount::Files { to }, true),
            Mount::Tmpfs { max_bytes, .. } => (
                PlannedMount::Tmpfs {
                    to,
                    max_bytes: *max_bytes,
                },
                true,
            ),
        })
    }
}
