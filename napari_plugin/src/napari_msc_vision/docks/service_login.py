"""Log in at the site's service, folded away until somebody wants it."""

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QHBoxLayout, QLabel, QLineEdit, QPushButton, QToolButton, QVBoxLayout, QWidget

from napari_msc_vision.service_link import HOW_TO_INSTALL, Account, is_installed


class ServiceLogin(QWidget):
    """Address, name and password; the password is cleared as soon as it was handed on."""

    log_in_wanted = Signal(str, str, str)
    log_out_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.fold = QToolButton()
        self.fold.setText("▸ Decide at the site's service")
        self.fold.setCheckable(True)
        self.fold.setStyleSheet("QToolButton { border: none; font-weight: bold; }")
        self.form = QWidget()
        self.url, self.username, self.password = QLineEdit(), QLineEdit(), QLineEdit()
        self.url.setPlaceholderText("https://msc.site:8790")
        self.password.setEchoMode(QLineEdit.EchoMode.Password)
        self.button = QPushButton("Log in")
        self.out = QPushButton("Log out")
        self.words = QLabel()
        self.words.setWordWrap(True)
        self._build()
        self.show_account(None)

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.fold)
        form = QFormLayout(self.form)
        form.setContentsMargins(8, 0, 0, 0)
        for label, field in (("Address", self.url), ("User name", self.username), ("Password", self.password)):
            form.addRow(label, field)
        line = QHBoxLayout()
        line.addWidget(self.button)
        line.addWidget(self.out)
        layout.addWidget(self.form)
        layout.addWidget(self.words)
        layout.addLayout(line)
        self.fold.toggled.connect(self._unfold)
        self.button.clicked.connect(lambda _: self._log_in())
        self.password.returnPressed.connect(self._log_in)
        self.out.clicked.connect(lambda _: self.log_out_wanted.emit())

    def _unfold(self, is_open: bool) -> None:
        self.fold.setText(f"{'▾' if is_open else '▸'} Decide at the site's service")
        can = is_open and is_installed()
        self.form.setVisible(can)
        self.button.setVisible(can)
        if is_open and not is_installed():
            self._say(HOW_TO_INSTALL)

    def _log_in(self) -> None:
        url, username, password = self.url.text(), self.username.text().strip(), self.password.text()
        self.password.clear()
        if not (url.strip() and username and password):
            self._say("Give the address of the service, your user name and your password.")
            return
        self.log_in_wanted.emit(url, username, password)

    def show_waiting(self) -> None:
        """Say that the service is being asked."""
        self._say("Asking the service …")

    def show_account(self, account: Account | None, trouble: str = "") -> None:
        """Show who is logged in, or why nobody is."""
        is_in = account is not None
        self.out.setVisible(is_in)
        if account is not None:
            self.fold.setChecked(False)
            self._unfold(False)
            self._say(f"Logged in: {account.words}. Decisions and signatures are kept there.")
            return
        self._unfold(self.fold.isChecked())
        self._say(trouble)

    def _say(self, text: str) -> None:
        self.words.setText(text)
        self.words.setVisible(bool(text))
