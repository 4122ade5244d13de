// NCCL on the host: sends and receives between processes of one machine, as files in a folder that the unique id names.
// Like the real one it refuses two ranks on one device, and calls return before they are done.
#pragma once

namespace wbsr::host_cuda {

// Replaces libnccl.so.2 in this process. The folders of connections are made in TMPDIR, and removed when all ranks have left.
void installFakeNccl();

}  // namespace wbsr::host_cuda
