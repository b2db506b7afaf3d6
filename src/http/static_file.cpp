#include "http/static_file.h"

#include <algorithm>
#include <new>
#include <span>

#include "http/http_date.h"
#include "http/mime_type.h"

namespace pyre::http {
namespace {

using platform::Errc;

// The finaliser of SplitMix64: every bit of the input moves every bit of the output.
std::uint64_t mix(std::uint64_t value) noexcept {
  value += 0x9e37'79b9'7f4a'7c15U;
  value = (value ^ (value >> 30)) * 0xbf58'476d'1ce4'e5b9U;
  value = (value ^ (value >> 27)) * 0x94d0'49bb'1331'11ebU;
  return value ^ (value >> 31);
}

void append_hex(std::string& out, std::uint64_t value) {
  for (int shift = 60; shift >= 0; shift -= 4) out.push_back("0123456789abcdef"[(value >> shift) & 15]);
}

std::string_view suffix_of(Coding coding) noexcept {
  switch (coding) {
    case Coding::identity:
      return {};
    case Coding::gzip:
      return ".gz";
    case Coding::zstd:
      return ".zst";
    case Coding::br:
      return ".br";
  }
  return {};
}

struct Opened {
  platform::NativeFile file = platform::no_file;
  platform::FileInfo info;
  FileSet::Kind kind = FileSet::Kind::missing;  // folder: without looking for its index
};

// `file` is set only if it is a regular one. A fifo or a device was opened, without waiting, and is closed again.
Opened open_one(const platform::Directory& directory, const std::string& name) noexcept {
  Opened opened;
  const auto shortage = [](platform::Error error) {
    return error.code == Errc::exhausted ? FileSet::Kind::shortage : FileSet::Kind::missing;
  };
  platform::Expected<platform::NativeFile> file = directory.open_beneath(name.c_str());
  if (!file) {
    opened.kind = shortage(file.error());
    return opened;
  }
  platform::Expected<platform::FileInfo> info = platform::stat_file(*file);
  if (!info || !info->regular) {
    if (info && info->directory) opened.kind = FileSet::Kind::folder;
    platform::close_file(*file);
    return opened;
  }
  opened = {*file, *info, FileSet::Kind::file};
  return opened;
}

// What a folder is, named without the slash.
FileSet::Kind kind_of_folder(const platform::Directory& directory, std::string_view name) {
  const Opened index = open_one(directory, std::string(name).append(name.empty() ? "index.html" : "/index.html"));
  if (index.kind == FileSet::Kind::shortage) return index.kind;
  if (index.kind != FileSet::Kind::file) return FileSet::Kind::missing;
  platform::close_file(index.file);
  return FileSet::Kind::folder;
}

}  // namespace

StaticFile::StaticFile(platform::NativeFile file, const platform::FileInfo& info) noexcept
    : file_(file), size_(info.size), modified_ns_(info.modified_ns), id_(info.id) {}

StaticFile::~StaticFile() {
  if (file_ != platform::no_file) platform::close_file(file_);
}

StaticFile* StaticFile::make(platform::NativeFile file, const platform::FileInfo& info) noexcept {
  auto* made = new (std::nothrow) StaticFile(file, info);
  if (made == nullptr) {
    platform::close_file(file);
    return nullptr;
  }
  if (info.size > kMaxInMemory) return made;
  made->body_.resize(info.size);
  const auto read = platform::read_at(file, 0, std::as_writable_bytes(std::span(made->body_)));
  if (!read.has_value()) {
    drop(made);
    return nullptr;
  }
  made->body_.resize(read.value());  // it was made shorter meanwhile
  made->size_ = read.value();
  platform::close_file(file);
  made->file_ = platform::no_file;
  return made;
}

void StaticFile::drop(void* file) noexcept {
  auto* self = static_cast<StaticFile*>(file);
  if (--self->shares_ == 0) delete self;
}

void StaticFile::describe(std::string_view type, Coding coding, bool vary, std::string_view cache_line,
                          std::int64_t now) {
  // Strong, so that parts of a file can be put together (If-Range): another file that was put in this one's place has
  // another inode, and a change in place another time, which the kernel counts in steps of a few milliseconds. Only two
  // changes within one step that leave the length as it was would not be seen. Mixed, since inodes are nobody's
  // business.
  etag_ = "\"";
  append_hex(etag_, mix(mix(mix(static_cast<std::uint64_t>(modified_ns_)) ^ size_) ^ id_));
  if (coding != Coding::identity) etag_.append("-").append(text_of(coding));
  etag_ += '"';
  // RFC 9110 8.8.2.1: never in the future; nor does the format reach back before the epoch in all clients.
  constexpr std::int64_t kSecond = 1'000'000'000;
  modified_ = std::clamp<std::int64_t>(modified_ns_ / kSecond, 0, std::max<std::int64_t>(now, 0));
  std::array<char, kHttpDateSize> date;
  format_http_date(modified_, date);

  lines_.assign("content-type: ").append(type).append("\r\n");
  type_end_ = lines_.size();
  if (coding != Coding::identity) lines_.append("content-encoding: ").append(text_of(coding)).append("\r\n");
  lines_.append("last-modified: ").append(date.data(), date.size());
  lines_.append("\r\naccept-ranges: bytes\r\nx-content-type-options: nosniff\r\n");
  cache_at_ = lines_.size();
  lines_.append("etag: ").append(etag_).append("\r\n");
  if (vary) lines_.append("vary: accept-encoding\r\n");
  lines_.append(cache_line);
}

unsigned FileSet::available() const noexcept {
  unsigned bits = 0;
  for (std::size_t i = 0; i < kCodings; ++i) bits |= variants[i] != nullptr ? 1U << i : 0U;
  return bits;
}

unsigned FileSet::descriptors() const noexcept {
  return static_cast<unsigned>(std::count_if(variants.begin(), variants.end(), [](const auto& variant) {
    return variant != nullptr && !variant->in_memory();
  }));
}

FileSet FileSet::load(const platform::Directory& directory, std::string_view name, bool folder,
                      std::string_view cache_line, std::int64_t now) {
  FileSet set;
  std::string path(name);
  if (folder) path.append(path.empty() ? "index.html" : "/index.html");
  const std::size_t size = path.size();
  for (std::size_t i = 0; i < kCodings; ++i) {
    const auto coding = static_cast<Coding>(i);
    path.resize(size);
    path.append(suffix_of(coding));
    const Opened opened = open_one(directory, path);
    if (coding == Coding::identity && opened.kind == Kind::folder) {
      if (!folder) set.kind = kind_of_folder(directory, name);
      return set;
    }
    // A sibling that cannot be opened now is missed for a second, not the file.
    if (opened.kind == Kind::shortage && coding == Coding::identity) set.kind = Kind::shortage;
    if (opened.kind == Kind::file) {
      set.variants[i].reset(StaticFile::make(opened.file, opened.info));
      // What is there and cannot be read is not there; memory that is short now may not be later.
      if (set.variants[i] != nullptr && coding == Coding::identity) set.kind = Kind::file;
    }
    if (set.kind != Kind::file) break;
  }
  if (set.kind != Kind::file) {
    for (auto& variant : set.variants) variant.reset();
    return set;
  }
  path.resize(size);
  const bool vary = set.available() != 1;
  for (std::size_t i = 0; i < kCodings; ++i)
    if (set.variants[i] != nullptr)
      set.variants[i]->describe(mime_type_of(path), static_cast<Coding>(i), vary, cache_line, now);
  return set;
}

}  // namespace pyre::http
