//! Writes the seeds of all targets into `corpus/`. Files of other names stay.

use std::fs;

fn main() -> std::io::Result<()> {
    for (target, seeds) in quorate_fuzz::corpus::all() {
        let folder = quorate_fuzz::corpus::folder(target);
        fs::create_dir_all(&folder)?;
        for (name, bytes) in &seeds {
            fs::write(folder.join(name), bytes)?;
        }
        println!("{target}: {} seeds", seeds.len());
    }
    Ok(())
}
