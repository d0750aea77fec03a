package present

import (
	"fmt"
	"io"
	"time"

	"postmend/postfix/maillog"
)

// Progress tells how far the reading of files is, on a line that is written anew.
type Progress struct {
	w         io.Writer
	all, done int64 // octets
	shown     time.Time
	written   bool
}

// NewProgress begins. Without w, it writes nothing.
func NewProgress(w io.Writer, files []maillog.File) *Progress {
	p := &Progress{w: w, shown: time.Now()}
	for _, file := range files {
		p.all += file.Size
	}
	return p
}

// Add counts octets that were read.
func (p *Progress) Add(n int) {
	p.done += int64(n)
	if p.w == nil || time.Since(p.shown) < 200*time.Millisecond {
		return
	}
	p.shown, p.written = time.Now(), true
	if p.all > 0 {
		fmt.Fprintf(p.w, "\r%3d%% of %d MB", min(100, 100*p.done/p.all), p.all>>20)
	} else {
		fmt.Fprintf(p.w, "\r%d MB", p.done>>20)
	}
}

// Clear removes the line.
func (p *Progress) Clear() {
	if p.written {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
