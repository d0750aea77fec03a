package access

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"postmend/postfix/postconf"
)

// User is an account with its groups.
type User struct {
	Name string
	UID  int
	GIDs []int // the primary one first
	// the account is still to be made: it has no numbers, and may use nothing but what everybody may
	IsMissing bool
}

// MissingUser is an account that is still to be made.
func MissingUser(name string) *User {
	return &User{Name: name, UID: -1, GIDs: []int{-1}, IsMissing: true}
}

// First is a command that needs the account, after the one that makes the account if it is missing.
func (u *User) First(command string) string {
	if !u.IsMissing || command == "" {
		return command
	}
	return "{ id " + postconf.Command{u.Name}.String() + " >/dev/null 2>&1 || " +
		AddUserCommand(u.Name).String() + "; } && " + command
}

// Group names the account's primary group for chgrp(1).
func (u *User) Group() string {
	if u.IsMissing {
		return u.Name
	}
	return GroupName(u.GIDs[0])
}

// LookupUser finds an account by its name. Group, if not empty, takes the place of all its groups, as pipe(8)
// has it.
func LookupUser(name, group string) (*User, error) {
	account, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	u := &User{Name: name}
	if u.UID, err = strconv.Atoi(account.Uid); err != nil {
		return nil, err
	}
	ids := []string{account.Gid}
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			return nil, err
		}
		ids = []string{g.Gid}
	}
	for _, id := range ids {
		gid, err := strconv.Atoi(id)
		if err != nil {
			return nil, err
		}
		u.GIDs = append(u.GIDs, gid)
	}
	return u, nil
}

// File is what the file system says of a path, links followed. The zero value is a path that was not
// looked at.
type File struct {
	Path    string
	Err     error // it could not be looked at; most often it is not there
	Mode    fs.FileMode
	Size    int64
	UID     int
	GID     int
	Folders []File // the folders on the way to it, the root last

	isHolder bool
}

// LookAt looks at a path and at the folders above it, those of a link's target included.
func LookAt(path string) File {
	f := stat(path)
	seen := map[string]bool{}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		target = path
	}
	for _, place := range []string{path, target} {
		for folder := filepath.Dir(place); !seen[folder]; folder = filepath.Dir(folder) {
			seen[folder] = true
			above := stat(folder)
			above.isHolder = folder == filepath.Dir(place)
			f.Folders = append(f.Folders, above)
		}
	}
	return f
}

func stat(path string) File {
	info, err := os.Stat(path)
	if err != nil {
		return File{Path: path, Err: err}
	}
	f := File{Path: path, Mode: info.Mode(), Size: info.Size()}
	if system, ok := info.Sys().(*syscall.Stat_t); ok {
		f.UID, f.GID = int(system.Uid), int(system.Gid)
	}
	return f
}

// IsMissing tells whether there is no such file.
func (f File) IsMissing() bool { return errors.Is(f.Err, fs.ErrNotExist) }

// Permissions for allows.
const (
	MayRead    = 4
	MayWrite   = 2
	MayExecute = 1
)

// Allows tells whether the mode, owner and group of the file grant a user something. Check runs as root, who
// may do anything: so trying would prove nothing.
func (f File) Allows(u *User, permission fs.FileMode) bool {
	granted := f.Mode.Perm()
	switch {
	case u.UID == 0:
		return true
	case u.UID == f.UID:
		granted >>= 6
	case slices.Contains(u.GIDs, f.GID):
		granted >>= 3
	}
	return granted&permission == permission
}

// Barrier is the first thing that keeps a user from using the file: a folder on the way, or the file itself;
// nil if there is none.
func (f File) Barrier(u *User, permission fs.FileMode) *File {
	for _, folder := range slices.Backward(f.Folders) {
		if folder.Err == nil && !folder.Allows(u, MayExecute) {
			return &folder
		}
	}
	if !f.Allows(u, permission) {
		return &f
	}
	return nil
}

// BarrierFor is barrier's for an account that exists, where the kernel can be asked: its access control lists
// let an account read what the mode does not.
func (f File) BarrierFor(u *User, permission fs.FileMode) *File {
	barrier := f.Barrier(u, permission)
	if barrier != nil && permission == MayRead && !u.IsMissing && os.Geteuid() == 0 {
		cmd := exec.Command("test", "-r", f.Path)
		cmd.SysProcAttr = u.Credential()
		if cmd.Run() == nil {
			return nil
		}
	}
	return barrier
}

// Credential is what makes a command run as the account. It takes root.
func (u *User) Credential() *syscall.SysProcAttr {
	groups := make([]uint32, len(u.GIDs))
	for i, gid := range u.GIDs {
		groups[i] = uint32(gid)
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(u.UID), Gid: groups[0],
		Groups: groups}}
}

// command writes words so that a POSIX shell reads them back.
func command(words ...string) string { return postconf.Command(words).String() }

// IsHome tells whether a folder is somebody's home: no place for what a service needs, and not to be opened
// for one.
func (f File) IsHome() bool {
	if f.Path == "/root" || filepath.Dir(f.Path) == "/home" {
		return true
	}
	owner, err := user.LookupId(strconv.Itoa(f.UID))
	const firstPerson = 1000 // UID_MIN of login.defs(5)
	return err == nil && f.UID >= firstPerson && owner.HomeDir == f.Path
}

// LetIn is the command that lifts all barriers between a private file and the account that has to read it,
// and lets nobody else in: the file comes to belong to the account, and folders on the way to its group. A
// folder that belongs to others stays theirs: there the command is "", as for a home, because the file is
// better kept elsewhere.
func (f File) LetIn(u *User) string {
	commands, ok := f.LetThrough(u)
	if !ok {
		return ""
	}
	if !f.Allows(u, MayRead) {
		commands = append(commands, command("chown", u.Name, f.Path), command("chmod", "u+r,g-w,o=", f.Path))
	}
	return u.First(strings.Join(commands, " && "))
}

// LetThrough are the commands that open the folders on the way to the file; ok is false if one of them is not
// to be opened.
func (f File) LetThrough(u *User) (commands []string, ok bool) {
	for _, folder := range slices.Backward(f.Folders) {
		if folder.Err != nil || folder.Allows(u, MayExecute) {
			continue
		}
		switch shared := GroupSharedBy(folder.GID, u.Name); {
		case folder.IsHome():
			return nil, false
		case slices.Contains(u.GIDs, folder.GID):
			commands = append(commands, command("chmod", "g+x", folder.Path))
		case folder.UID == u.UID:
			commands = append(commands, command("chmod", "u+x", folder.Path))
		case folder.GID == 0 || folder.isHolder || len(shared) == 0:
			commands = append(commands, command("chgrp", u.Group(), folder.Path),
				command("chmod", "g+x", folder.Path))
		default:
			return nil, false
		}
	}
	return commands, true
}

// Holders are the folders where the file could be replaced: the one that it is in, and the one that it is
// linked from.
func (f File) Holders() []File {
	return slices.DeleteFunc(slices.Clone(f.Folders), func(folder File) bool { return !folder.isHolder })
}

// Because says what a barrier is, and where the file should be instead if the barrier is not to be lifted.
func (f File) Because(barrier *File) string {
	if barrier.IsHome() && barrier.Path != f.Path {
		return fmt.Sprintf("because of %s, which is a home directory: move it elsewhere, such as to "+
			"/etc/postmend", barrier)
	}
	if barrier.Path == f.Path {
		return "because it has " + f.permissions()
	}
	return fmt.Sprintf("because of %s", barrier)
}

func (f File) String() string { return fmt.Sprintf("%s (%s)", f.Path, f.permissions()) }

func (f File) permissions() string {
	return fmt.Sprintf("mode %#o, owner %s, group %s", f.Mode.Perm(), userName(f.UID), GroupName(f.GID))
}

// userName is the name of an account, or its number.
func userName(uid int) string {
	if account, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return account.Username
	}
	return strconv.Itoa(uid)
}

// GroupName is the name of a group, or its number.
func GroupName(gid int) string {
	if group, err := user.LookupGroupId(strconv.Itoa(gid)); err == nil {
		return group.Name
	}
	return strconv.Itoa(gid)
}

// OwnerOf gives the account that a file belongs to; "" if that is root, or nobody knows.
func OwnerOf(f File) string {
	if f.Err != nil || f.UID == 0 {
		return ""
	}
	account, err := user.LookupId(strconv.Itoa(f.UID))
	if err != nil {
		return ""
	}
	return account.Username
}
