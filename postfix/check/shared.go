package check

import (
	"fmt"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"postmend/filter/config"
	"postmend/postfix/access"
)

// shared says which other programs may read a private file; "" if none may. isNeeded says that it is a
// program with an account of its own, such as OpenDKIM or PostSRSd, which goes on using the file.
func (o *own) shared(f access.File) (why string, isNeeded bool) {
	if name := access.OwnerOf(f); name != "" && name != o.account.Name {
		if why := o.sharedBy(name); why != "" {
			return fmt.Sprintf("%s belongs to %s, a shared account: %s", f.Path, name, why), !isGeneral(f.UID)
		}
		return fmt.Sprintf("%s belongs to %s, and postmend runs as %s", f.Path, name,
			o.account.Name), !isGeneral(f.UID)
	}
	if f.Mode.Perm()&0o040 == 0 {
		return "", false
	}
	names := access.GroupSharedBy(f.GID, o.account.Name)
	if len(names) == 0 {
		return "", false
	}
	for _, name := range names {
		if account, err := user.Lookup(name); err == nil {
			uid, _ := strconv.Atoi(account.Uid)
			isNeeded = isNeeded || !isGeneral(uid)
		}
	}
	return fmt.Sprintf("%s may be read by %s, by way of its group (mode %#o, group %s)", f.Path,
		strings.Join(names, ", "), f.Mode.Perm(), access.GroupName(f.GID)), isNeeded
}

// isGeneral tells whether an account is one of those that no program has for itself.
func isGeneral(uid int) bool { return uid < 100 || uid == 65534 }

// copyOf is the way to a copy of a private file that is postmend's alone.
func (o *own) copyOf(f access.File) (mend string, edit *Edit) {
	folder := filepath.Join(filepath.Dir(o.ConfigFile), "private")
	path := filepath.Join(folder, filepath.Base(f.Path))
	mend = shell("install", "-d", "-m", "0750", "-g", o.account.Group(), folder) + " && " +
		shell("install", "-m", "0600", "-o", o.account.Name, "-g", o.account.Group(), f.Path, path)
	key := "dkim.keys.file"
	if f.Path == o.secrets.Path {
		key = "srs.secrets_file"
	}
	edit = &Edit{File: o.ConfigFile, Line: config.LineOfKey([]byte(o.Text), key), Key: key,
		Value: fmt.Sprintf("%q", path)}
	n := 0
	for line := range strings.Lines(o.Text) {
		if n++; strings.Contains(line, filepath.Base(f.Path)+`"`) {
			edit.Line = n
		}
	}
	return o.account.First(mend), edit
}

// closeFolder is the command that takes the permission to write to a folder from everybody; "" for folders
// such as /tmp, to which everybody has to write.
func closeFolder(folder access.File) string {
	for _, shared := range sharedFolders {
		if folder.Path == shared {
			return ""
		}
	}
	return shell("chmod", "o-w", folder.Path)
}
