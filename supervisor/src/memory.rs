//! How much memory a worker may take.

use launcher::Memory;
use shared::wire::StartOrder;

use crate::facts;

/// Memory that loading may take, bytes. The peak on 6.18 is 238 MB of addresses, of which a limit of four times as much leaves room for larger kernels.
const LOADING_BYTES: u64 = 1 << 30;

/// Memory for each entry of the table of processes, bytes: a row of some 250 B, several times on its way.
const ROW_COPIES_BYTES: u64 = 8192;

/// Kernel memory beside what grows with the options, bytes: 16 MB of maps of the network viewer, twice, as those of objects that are passed over may
/// not be freed yet, and as much again for programs, the verifier and pages of files.
const KERNEL_BYTES: u64 = 64 << 20;
/// And for each CPU: 150 kB of rows and slots, twice.
const KERNEL_CPU_BYTES: u64 = 300_000;
/// And for each entry of the table of processes: 224 B and some 70 B of the hash, twice.
const KERNEL_ROW_BYTES: u64 = 600;

/// Most memory of a worker. Of its own, loading takes the kernel's types and symbols, counting takes copies of the rows.
pub fn limit(order: &StartOrder) -> Memory {
    let (rows, cpus) = (u64::from(order.pid_table_size), facts::cpus().possible as u64);
    Memory {
        own_bytes: LOADING_BYTES + rows * ROW_COPIES_BYTES,
        kernel_bytes: KERNEL_BYTES + cpus * KERNEL_CPU_BYTES + rows * KERNEL_ROW_BYTES,
    }
}
