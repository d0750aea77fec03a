package setup

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"postmend/postfix/postconf"
	"postmend/postfix/wholefile"
)

// configFiles are the files that postconf(1) changes. main.cf comes first when they are restored: it must not
// name a service that is gone.
var configFiles = []string{"main.cf", "master.cf"}

const (
	backupSuffix = ".before-postmend"
	sumsFile     = "postmend-setup.sums"
)

// backupSteps copy main.cf and master.cf, so that --undo restores comments and line breaks, too.
func backupSteps(c *postconf.Config) []Step {
	var steps []Step
	for _, name := range configFiles {
		path := filepath.Join(c.Dir, name)
		steps = append(steps,
			Step{"for postmend setup --undo", postconf.Command{"cp", "-p", path, path + backupSuffix}})
	}
	return steps
}

// sums writes down what main.cf and master.cf are like after the changes: if they are so still, --undo puts
// the copies back.
type sums struct{ dir string }

func (s sums) paths() []string {
	return []string{filepath.Join(s.dir, configFiles[0]), filepath.Join(s.dir, configFiles[1])}
}

// String implements Action.
func (s sums) String() string {
	to := postconf.Command{filepath.Join(s.dir, sumsFile)}
	return append(postconf.Command{"sha256sum"}, s.paths()...).String() + " > " + to.String()
}

// Run implements Action.
func (s sums) Run() error {
	text, err := s.text()
	if err != nil {
		return err
	}
	return File{Path: filepath.Join(s.dir, sumsFile), Content: text, Mode: 0o644}.Run()
}

// text is what sha256sum(1) prints.
func (s sums) text() (string, error) {
	var text strings.Builder
	for _, path := range s.paths() {
		content, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&text, "%x  %s\n", sha256.Sum256(content), path)
	}
	return text.String(), nil
}

// isUntouched tells whether main.cf and master.cf are what setup made of them.
func isUntouched(c *postconf.Config) bool {
	recorded, err := os.ReadFile(filepath.Join(c.Dir, sumsFile))
	if err != nil {
		return false
	}
	text, err := sums{c.Dir}.text()
	return err == nil && text == string(recorded)
}

// restoreSteps put the copies back; nil if they are not all there.
func restoreSteps(c *postconf.Config) []Step {
	var steps []Step
	for _, name := range configFiles {
		path := filepath.Join(c.Dir, name)
		if _, err := os.Stat(path + backupSuffix); err != nil {
			return nil
		}
		steps = append(steps,
			Step{name + " as it was before", postconf.Command{"mv", "-f", path + backupSuffix, path}})
	}
	return steps
}

// snapshot is the content of the files that setup changes, to go back to if Postfix does not answer as it
// should.
type snapshot struct{ files []savedFile }

type savedFile struct {
	path    string
	link    string // what it leads to, if it is a symbolic link
	content []byte // nil if the file was not there
	mode    os.FileMode
	uid     int
	gid     int
}

// takeSnapshot reads main.cf, master.cf, and the files that the plan and its state write.
func (p *Plan) takeSnapshot() (*snapshot, error) {
	var paths []string
	for _, name := range configFiles {
		paths = append(paths, filepath.Join(p.config.Dir, name))
	}
	for _, file := range p.Files {
		paths = append(paths, file.Path)
	}
	paths = append(paths, undoFiles(p.config)...)
	s := &snapshot{}
	for _, path := range paths {
		saved, err := save(path)
		if err != nil {
			return nil, err
		}
		s.files = append(s.files, saved)
	}
	return s, nil
}

// undoFiles are what setup keeps for the undoing.
func undoFiles(c *postconf.Config) []string {
	return []string{filepath.Join(c.Dir, configFiles[0]+backupSuffix),
		filepath.Join(c.Dir, configFiles[1]+backupSuffix), filepath.Join(c.Dir, sumsFile), statePath(c)}
}

func save(path string) (savedFile, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return savedFile{path: path}, nil
	} else if err != nil {
		return savedFile{}, err
	}
	content, err := os.ReadFile(path)
	link, _ := os.Readlink(path)
	saved := savedFile{path: path, link: link, content: append([]byte{}, content...),
		mode: info.Mode().Perm(), uid: -1, gid: -1}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		saved.uid, saved.gid = int(owner.Uid), int(owner.Gid)
	}
	return saved, err
}

// restore goes on after an error, which it returns.
func (s *snapshot) restore() error {
	var errs []error
	for _, file := range s.files {
		if file.content == nil {
			if err := os.Remove(file.path); !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
			continue
		}
		link, _ := os.Readlink(file.path)
		if now, err := os.ReadFile(file.path); err == nil && string(now) == string(file.content) &&
			link == file.link {
			continue
		}
		errs = append(errs, file.restore())
	}
	return errors.Join(errs...)
}

func (s savedFile) restore() error {
	path := s.path
	if s.link != "" {
		fresh := s.path + ".link"
		if err := errors.Join(os.Symlink(s.link, fresh), os.Rename(fresh, s.path)); err != nil {
			return err
		}
		if path = s.link; !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(s.path), path)
		}
	}
	options := wholefile.Options{Mode: s.mode, Owner: &[2]int{s.uid, s.gid}}
	return wholefile.Write(path, options, wholefile.Content(s.content))
}
