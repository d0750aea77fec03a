package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"postmend/srs"
)

// files keeps entries in a folder: DIR/2006-01-02/xx/TOKEN, where the date is the day of the alias and xx the
// first two characters of the token. So a whole day expires at once, and no clock but ours matters.
//
// Only the folder's owner may have access to it, and everything in it is his. root acts for him.
type files struct {
	dir  string
	life lifetime
}

// The limits. Tokens are spread evenly, so a day has at most about 200,000 entries.
const (
	maxInShard   = 200
	minFreeSpace = 64 << 20 // octets that stay free on the file system, for the mail queue
	minFreeNodes = 10_000   // inodes likewise, where the file system has a limit
	pruneAtOnce  = 64       // expired entries that one Put removes
)

var errFull = errors.New("the store is full")

// Prepare makes the folder if it is missing and its parent is ours. A process that gives up permissions calls
// it before.
func Prepare(dir string) error {
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return nil // open says what is wrong with it
	}
	parent, err := os.Lstat(filepath.Dir(dir))
	if err != nil {
		return err
	}
	if owner := ownerOf(parent); os.Geteuid() == 0 || !parent.IsDir() || owner != uint32(os.Geteuid()) {
		return fmt.Errorf("the folder %s is missing; run: install -d -m 700 -o ACCOUNT %s", dir, dir)
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncFile(os.Open(filepath.Dir(dir)))
}

// checkFolder says what is wrong with a folder for an account. root acts for the owner.
func checkFolder(dir string, is *unix.Stat_t, account int) error {
	switch mode := is.Mode; {
	case mode&unix.S_IFMT == unix.S_IFLNK:
		return fmt.Errorf("%s is a symbolic link; name the folder itself", dir)
	case mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf("%s is not a folder", dir)
	case account != 0 && int(is.Uid) != account:
		return fmt.Errorf("%s belongs to uid %d, not to uid %d", dir, is.Uid, account)
	case mode&0o077 != 0:
		return fmt.Errorf("%s is open to other accounts (mode %#o); run: chmod 700 %s", dir, mode&0o777, dir)
	}
	return nil
}

func ownerOf(info fs.FileInfo) uint32 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Uid
	}
	return ^uint32(0)
}

// folder is the open folder of a store.
type folder struct {
	*os.Root
	owner, group uint32
}

// open refuses a folder that others could write to, also one that was replaced meanwhile.
func (s *files) open() (*folder, error) {
	var is unix.Stat_t
	if err := unix.Lstat(s.dir, &is); err != nil {
		return nil, &fs.PathError{Op: "lstat", Path: s.dir, Err: err}
	}
	if err := checkFolder(s.dir, &is, os.Geteuid()); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return nil, err
	}
	opened, err := root.Stat(".")
	if err == nil {
		if now := opened.Sys().(*syscall.Stat_t); now.Dev != is.Dev || now.Ino != is.Ino {
			err = fs.ErrInvalid
		}
	}
	if err != nil {
		root.Close()
		return nil, fmt.Errorf("%s was replaced: %w", s.dir, err)
	}
	return &folder{root, is.Uid, is.Gid}, nil
}

func shardOf(key srs.Key) string { return dayName(key.Day) + "/" + key.Token[:2] }

// Get implements Store.
func (s *files) Get(_ context.Context, key srs.Key) (string, error) {
	if err := checkKey(key); err != nil {
		return "", err
	}
	dir, err := openIn(unix.AT_FDCWD, s.dir, unix.O_PATH) // a link itself, too
	if err != nil {
		return "", &fs.PathError{Op: "open", Path: s.dir, Err: err}
	}
	defer unix.Close(dir)
	var is unix.Stat_t
	if err := unix.Fstat(dir, &is); err != nil {
		return "", &fs.PathError{Op: "stat", Path: s.dir, Err: err}
	}
	if err := checkFolder(s.dir, &is, os.Geteuid()); err != nil {
		return "", err
	}
	return readEntry(dir, is.Uid, key)
}

// How things below the folder are opened. A symbolic link is an error.
const (
	asFolder = unix.O_PATH | unix.O_DIRECTORY
	asEntry  = unix.O_RDONLY | unix.O_NONBLOCK // a pipe in the file's place must not hold us up
)

func openIn(dir int, name string, how int) (fd int, err error) {
	for {
		fd, err = unix.Openat(dir, name, how|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// readEntry reads an entry of an open folder. A lookup table does little else, so it makes no os.File, which
// costs more than the calls.
func readEntry(dir int, owner uint32, key srs.Key) (string, error) {
	for n, name := range [...]string{dayName(key.Day), key.Token[:2], key.Token} {
		how := asFolder
		if n == 2 {
			how = asEntry
		}
		fd, err := openIn(dir, name, how)
		if err == unix.ENOENT {
			return "", fmt.Errorf("%w: %s/%s", srs.ErrUnknown, dayName(key.Day), key.Token)
		} else if err != nil {
			return "", &fs.PathError{Op: "open", Path: shardOf(key) + "/" + key.Token, Err: err}
		}
		defer unix.Close(fd)
		dir = fd
	}
	var is unix.Stat_t
	if err := unix.Fstat(dir, &is); err != nil {
		return "", err
	}
	if is.Mode&unix.S_IFMT != unix.S_IFREG || is.Uid != owner {
		return "", fmt.Errorf("%w: %s/%s is not a file of the folder's owner", errDamaged,
			dayName(key.Day), key.Token)
	}
	text := make([]byte, maxEntry+1)
	n, err := unix.Pread(dir, text, 0)
	if err != nil {
		return "", &fs.PathError{Op: "read", Path: shardOf(key) + "/" + key.Token, Err: err}
	}
	return decode(key, string(text[:n]))
}

// Put implements Store.
//
// The entry is moved to its place before it is synced, which halves the time on usual file systems. If the
// system crashes in between, the entry may be damaged, but then its alias has not been used: a later Put of
// the same message writes it again.
func (s *files) Put(ctx context.Context, key srs.Key, sender string) error {
	if err := checkEntry(key, sender); err != nil {
		return err
	}
	if err := Prepare(s.dir); err != nil {
		return err
	}
	root, err := s.open()
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.makeShard(key); err != nil {
		return err
	}
	shard, err := root.Open(shardOf(key))
	if err != nil {
		return err
	}
	defer shard.Close()
	if known, err := s.Get(ctx, key); err != nil || known != sender {
		if err := checkRoom(shard); err != nil {
			return err
		}
		if err := root.write(key, encode(key, sender)); err != nil {
			return err
		}
	}
	// Another process may have written it, and not have got as far as this.
	if err := syncFile(root.Open(shardOf(key) + "/" + key.Token)); err != nil {
		return err
	}
	if err := shard.Sync(); err != nil {
		return err
	}
	if s.confirmsClock(root) {
		s.prune(root, pruneAtOnce) // what is left over, another Put removes
	}
	return nil
}

// makeShard makes the folders of a key, and makes sure that they are there after a crash.
func (f *folder) makeShard(key srs.Key) error {
	for _, name := range []string{dayName(key.Day), shardOf(key)} {
		err := f.Mkdir(name, 0o700)
		if errors.Is(err, fs.ErrExist) {
			continue
		} else if err != nil {
			return err
		}
		made, err := f.OpenFile(name, os.O_RDONLY|syscall.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		if err := errors.Join(f.give(made), made.Close()); err != nil {
			return err
		}
		if err := syncFile(f.Open(filepath.Dir(name))); err != nil {
			return err
		}
	}
	return nil
}

// give makes what root has made the folder's owner's. Not by its name, behind which the owner could put a
// hard link to somebody else's file.
func (f *folder) give(made *os.File) error {
	if os.Geteuid() == int(f.owner) {
		return nil
	}
	return made.Chown(int(f.owner), int(f.group))
}

func syncFile(file *os.File, err error) error {
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// checkRoom refuses an entry for which there is no room.
func checkRoom(shard *os.File) error {
	if names, err := shard.Readdirnames(maxInShard); err != nil && err != io.EOF {
		return err
	} else if len(names) == maxInShard {
		return fmt.Errorf("%w: %s has %d entries", errFull, shard.Name(), len(names))
	}
	return checkSpace(shard)
}

// checkSpace tells whether a folder's file system takes more, and leaves enough to others.
func checkSpace(folder *os.File) error {
	var system unix.Statfs_t
	if err := unix.Fstatfs(int(folder.Fd()), &system); err != nil {
		return err
	}
	if system.Flags&unix.ST_RDONLY != 0 {
		return fmt.Errorf("its file system is mounted read-only: %w", syscall.EROFS)
	}
	if free := system.Bavail * uint64(system.Bsize); free < minFreeSpace {
		return fmt.Errorf("%w: its file system has %d MiB left", errFull, free>>20)
	}
	if system.Files > 0 && system.Ffree < minFreeNodes {
		return fmt.Errorf("%w: its file system has %d inodes left", errFull, system.Ffree)
	}
	return nil
}

// write writes an entry beside its place, and moves it there. What a crash leaves behind goes with its day.
func (f *folder) write(key srs.Key, text string) (err error) {
	temporary := shardOf(key) + "/." + key.Token + "." + strconv.FormatUint(rand.Uint64(), 36)
	file, err := f.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Remove(temporary)
		}
	}()
	_, err = io.WriteString(file, text)
	if err = errors.Join(err, f.give(file), file.Close()); err != nil {
		return err
	}
	return f.Rename(temporary, shardOf(key)+"/"+key.Token)
}

// names gives what is in a folder of the store.
func (f *folder) names(name string) ([]string, error) {
	file, err := f.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return file.Readdirnames(-1)
}

// List implements Store.
func (s *files) List(ctx context.Context, found func(Entry) error) error {
	root, err := s.open()
	if err != nil {
		return err
	}
	defer root.Close()
	return root.walk(func(key srs.Key) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		sender, err := s.Get(ctx, key)
		if errors.Is(err, srs.ErrUnknown) {
			return nil // removed meanwhile
		}
		return found(Entry{key, sender, err})
	})
}

// walk visits all entries.
func (f *folder) walk(visit func(srs.Key) error) error {
	days, err := f.names(".")
	if err != nil {
		return err
	}
	for _, date := range days {
		day, ok := parseDay(date)
		if !ok {
			continue
		}
		shards, err := f.names(date)
		if ignoreMissing(err) != nil { // it may be removed meanwhile
			return err
		}
		for _, shard := range shards {
			tokens, err := f.names(date + "/" + shard)
			if ignoreMissing(err) != nil {
				return err
			}
			for _, token := range tokens {
				if srs.IsToken(token) && strings.HasPrefix(token, shard) {
					if err := visit(srs.Key{Day: day, Token: token}); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}
