#include "platform/directory.h"

#include <windows.h>

#include <cwchar>
#include <new>
#include <string>

#include "platform/error.h"
#include "platform/file.h"

namespace pyre::platform {
namespace {

Error last_error() noexcept { return error_from_os(static_cast<std::int32_t>(::GetLastError())); }

// Where an open file really is: links followed, short names long, in the form "\\?\C:\...". "" if that cannot be told.
std::wstring final_path(HANDLE file) noexcept {
  constexpr DWORD kHow = FILE_NAME_NORMALIZED | VOLUME_NAME_DOS;
  const DWORD needed = ::GetFinalPathNameByHandleW(file, nullptr, 0, kHow);
  if (needed == 0) return {};
  std::wstring path(needed, L'\0');
  const DWORD size = ::GetFinalPathNameByHandleW(file, path.data(), needed, kHow);
  if (size == 0 || size >= needed) return {};
  path.resize(size);
  return path;
}

std::wstring widen(const char* text) noexcept {
  const int size = ::MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, nullptr, 0);
  if (size <= 1) return {};
  std::wstring wide(static_cast<std::size_t>(size - 1), L'\0');
  ::MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, wide.data(), size);
  return wide;
}

// Is `path` the root or below it, and is no part of it below the root a dot file? The second question again, since a
// short name ("ENV~1") shows no dot.
bool is_beneath(const std::wstring& path, const std::wstring& root) noexcept {
  if (path.size() < root.size()) return false;
  const auto size = static_cast<int>(root.size());
  if (::CompareStringOrdinal(path.data(), size, root.data(), size, TRUE) != CSTR_EQUAL) return false;
  if (path.size() == root.size()) return true;
  if (root.back() != L'\\' && path[root.size()] != L'\\') return false;
  return path.find(L"\\.", root.size() - (root.back() == L'\\' ? 1 : 0)) == std::wstring::npos;
}

}  // namespace

struct Directory::Root {
  Root(NativeFile opened, std::wstring at) noexcept : file(opened), path(std::move(at)) {}
  ~Root() { close_file(file); }
  Root(const Root&) = delete;
  Root& operator=(const Root&) = delete;
  NativeFile file;  // held, so that nobody renames or removes it
  std::wstring path;
};

Directory::Directory(std::unique_ptr<Root> root) noexcept : root_(std::move(root)) {}
Directory::~Directory() = default;

Expected<std::unique_ptr<Directory>> Directory::open(const char* path) noexcept {
  Expected<NativeFile> file = open_file(path);
  if (!file) return file.error();
  const Expected<FileInfo> info = stat_file(*file);
  std::wstring at = final_path(*file);
  if (!info.has_value() || !info.value().directory || at.empty()) {
    close_file(*file);
    return error_from_os(ERROR_DIRECTORY);
  }
  std::unique_ptr<Root> root(new (std::nothrow) Root(*file, std::move(at)));
  if (root == nullptr) {
    close_file(*file);
    return error_from_os(ERROR_NOT_ENOUGH_MEMORY);
  }
  std::unique_ptr<Directory> made(new (std::nothrow) Directory(std::move(root)));
  if (made == nullptr) return error_from_os(ERROR_NOT_ENOUGH_MEMORY);
  return made;
}

// There is no "below this handle only" in Win32: it is opened, and then looked at where that was. The path has the
// prefix that switches Win32's own parsing off, so "..", devices and blanks at the end have no meaning in it.
Expected<NativeFile> Directory::open_beneath(const char* name) const noexcept {
  std::wstring path = root_->path;
  if (*name != '\0') {
    const std::wstring wide = widen(name);
    if (wide.empty()) return error_from_os(ERROR_INVALID_NAME);
    if (path.back() != L'\\') path += L'\\';
    for (const wchar_t c : wide) path += c == L'/' ? L'\\' : c;
  }
  const HANDLE file =
      ::CreateFileW(path.c_str(), FILE_GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr,
                    OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, nullptr);
  if (file == INVALID_HANDLE_VALUE) return last_error();
  if (!is_beneath(final_path(file), root_->path)) {
    close_file(file);
    return error_from_os(ERROR_FILE_NOT_FOUND);
  }
  return NativeFile{file};
}

bool Directory::is_known_missing(const char*) const noexcept { return false; }  // there is no way to ask

}  // namespace pyre::platform
