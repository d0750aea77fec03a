package main

import (
	"maps"
	"os"
	"sync"
	"syscall"
	"time"

	"postmend/filter"
)

// stamps are the files that a configuration was made of, as they were then. A file that is missing has no
// stamp.
type stamps map[string]stamp

type stamp struct {
	device, inode uint64
	size          int64
	modified      time.Time
}

func stampsOf(files []string) stamps {
	s := stamps{}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			continue
		}
		is := stamp{size: info.Size(), modified: info.ModTime()}
		if sys, ok := info.Sys().(*syscall.Stat_t); ok {
			is.device, is.inode = uint64(sys.Dev), sys.Ino
		}
		s[file] = is
	}
	return s
}

// watch looks for changed files, at most once a second.
type watch struct {
	mu     sync.Mutex
	looked time.Time
	files  []string
	seen   stamps
}

const watchInterval = time.Second

// starts notes the files of a configuration before they are read, so that a change while they are being read
// counts as a change.
func (w *watch) starts(files []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.files, w.seen, w.looked = files, stampsOf(files), time.Now()
}

// changed tells once of each change.
func (w *watch) changed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.looked) < watchInterval {
		return false
	}
	w.looked = time.Now()
	now := stampsOf(w.files)
	if maps.Equal(now, w.seen) {
		return false
	}
	w.seen = now
	return true
}

// loadResident is load for a process that serves many messages.
func (r *resident) loadResident() (*loaded, error) {
	files := []string{r.configFile}
	if old := r.use.Load(); old != nil {
		files = append(files, old.config.Files()...)
	}
	r.watch.starts(files)
	config, err := filter.LoadConfig(r.configFile)
	if err != nil {
		return nil, err
	}
	r.watch.starts(append([]string{r.configFile}, config.Files()...))
	f, err := filter.New(config, filter.Options{Now: now, Resident: true})
	if err != nil {
		return nil, err
	}
	return &loaded{config, f}, nil
}

// current is the configuration in use. Files that have changed are read again first.
func (r *resident) current() *loaded {
	if r.watch.changed() {
		r.reload()
	}
	return r.use.Load()
}
