package serve

import (
	"fmt"
	"maps"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"postmend/cmd/postmend/syslog"
	"postmend/filter"
	"postmend/filter/config"
)

// stamps are the files that a configuration was made of, as they were then. A file that is missing has the
// zero stamp.
type stamps map[string]stamp

type stamp struct {
	device, inode      uint64
	size               int64
	mode, owner, group uint32 // a secret that others can read is refused until its mode is corrected
	modified, changed  unix.Timespec
}

func stampsOf(files []string) stamps {
	s := stamps{}
	for _, file := range files {
		if file != "" {
			s[file] = stampOf(file)
		}
	}
	return s
}

func stampOf(file string) stamp {
	var is unix.Stat_t
	if unix.Stat(file, &is) != nil {
		return stamp{}
	}
	return stamp{uint64(is.Dev), is.Ino, is.Size, is.Mode, is.Uid, is.Gid, is.Mtim, is.Ctim}
}

// hold tells whether the files are as they were.
func (s stamps) hold() bool {
	for file, was := range s {
		if stampOf(file) != was {
			return false
		}
	}
	return true
}

// watch looks for changed files, at most once a second.
type watch struct {
	mu     sync.Mutex
	looked time.Time
	files  []string
	seen   stamps
}

const watchInterval = time.Second

// begin forgets all files.
func (w *watch) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.files, w.seen, w.looked = nil, stamps{}, time.Now()
}

// add notes files before they are read, so that a change while they are being read counts as a change.
func (w *watch) add(files ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.files = append(w.files, files...)
	maps.Copy(w.seen, stampsOf(files))
}

// changed tells once of each change.
func (w *watch) changed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.looked) < watchInterval {
		return false
	}
	w.looked = time.Now()
	if w.seen.hold() {
		return false
	}
	w.seen = stampsOf(w.files)
	return true
}

// loaded is a configuration, ready for use.
type loaded struct {
	config *config.Config
	filter *filter.Filter
}

func (o *Options) open(settings *config.Config, stays bool) (*loaded, error) {
	f, err := filter.New(settings, filter.Options{Now: o.Now, Resident: stays})
	if err != nil {
		return nil, err
	}
	return &loaded{settings, f}, nil
}

// load reads the configuration. Of several calls, the last one has the last word.
func (r *Resident) load() error {
	r.loading.Lock()
	defer r.loading.Unlock()
	r.watch.begin()
	r.watch.add(r.ConfigFile)
	settings, err := config.Load(r.ConfigFile)
	if err != nil {
		return err
	}
	r.watch.add(settings.Files()...)
	next, err := r.open(settings, !r.handsNothingOver)
	if err != nil {
		return err
	}
	if old := r.use.Swap(next); old != nil {
		old.filter.Close()
	}
	return nil
}

// reload is load while we serve: a configuration that is not valid changes nothing.
func (r *Resident) reload() {
	notify(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", monotonic()))
	defer notify("READY=1")
	if err := r.load(); err != nil {
		r.Log.Write(syslog.Error, "NOQUEUE: configuration not reloaded, the previous one stays in use: "+
			err.Error())
		return
	}
	r.Log.Write(syslog.Info, "NOQUEUE: configuration reloaded")
}

// current is the configuration in use. Files that have changed are read again first.
func (r *Resident) current() *loaded {
	if r.watch.changed() {
		r.reload()
	}
	return r.use.Load()
}
