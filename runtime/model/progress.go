package model

// Progress shows what a Fetcher does. Its methods are called from one goroutine at a time.
type Progress interface {
	// Begin starts a step. Total is its size in bytes, 0 where it is not known or the step
	// is not counted in bytes.
	Begin(name string, total int64) Task
}

// Task is one step of a Progress.
type Task interface {
	// Set tells how many bytes are done. It can go back: a server that ignores a range
	// makes a download start again.
	Set(done int64)
	// Note is a line that the user should see: a retry, a wait, a fallback.
	Note(line string)
	// End finishes the step; err is nil where it went well. It is called once.
	End(err error)
}

// silent is a Progress that shows nothing.
type silent struct{}

func (silent) Begin(string, int64) Task { return silent{} }
func (silent) Set(int64)                {}
func (silent) Note(string)              {}
func (silent) End(error)                {}
