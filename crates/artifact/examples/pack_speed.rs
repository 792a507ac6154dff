//! Measures packing and unpacking of a folder: `pack_speed TREE SCRATCH_FOLDER`.
//!
//! The folder to unpack into must be empty. ext4 looks long for free inodes where many files were
//! removed in the last half minute, so do not remove and repeat at once.
#![expect(clippy::print_stdout, reason = "it is what the program is for")]

use std::error::Error;
use std::path::Path;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let [tree, scratch] = args.as_slice() else {
        return Err("usage: speed TREE SCRATCH_FOLDER".into());
    };
    let mut out = Vec::new();
    for _ in 0..3 {
        out.clear();
        let started = Instant::now();
        let packed = artifact::pack(Path::new(tree), "app", 0, &mut out)?;
        let took = started.elapsed();
        let mb_per_s = u128::from(packed.size_bytes) / took.as_micros();
        println!(
            "{packed:?} to {} bytes in {took:?}, {mb_per_s} MB/s",
            out.len()
        );
    }
    let started = Instant::now();
    artifact::sha256(&out);
    println!("hashed in {:?}", started.elapsed());
    let started = Instant::now();
    let limits = artifact::unpack::Limits::default();
    let unpacked = artifact::unpack(out.as_slice(), Path::new(scratch), limits)?;
    println!("{unpacked:?} in {:?}", started.elapsed());
    Ok(())
}
