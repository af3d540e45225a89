package disk

import "syscall"

// changed is when anything of a file last changed.
func changed(st *syscall.Stat_t) int64 { return st.Ctim.Nano() }
